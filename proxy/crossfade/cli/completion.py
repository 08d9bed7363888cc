"""`crossfade completion SHELL`: what a shell has to read so that Tab completes; and where to put it."""

from __future__ import annotations

from argparse import Namespace

from crossfade.cli.exits import OK

BASH = """\
# Completes crossfade in bash. Once: source <(crossfade completion bash)
# For good: crossfade completion bash > ~/.local/share/bash-completion/completions/crossfade
_crossfade() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then
            compopt -o default
            return
        fi
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]}" __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -F _crossfade crossfade
"""
ZSH = """\
#compdef crossfade
# Completes crossfade in zsh. For good, in a directory of $fpath: crossfade completion zsh > ~/.zfunc/_crossfade
_crossfade() {
    local -a values shown
    local value about
    while IFS=$'\\t' read -r value about; do
        if [[ $value == ":files" ]]; then
            _files
            return
        fi
        values+=("$value")
        shown+=("$value${about:+  -- $about}")
    done < <("${words[1]}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)
    if [[ ${#values} == 1 && ${values[1]} == *= ]]; then
        compadd -S '' -l -d shown -a values
    else
        compadd -l -d shown -a values
    fi
}
if [[ ${funcstack[1]} == _crossfade ]]; then
    _crossfade "$@"
else
    compdef _crossfade crossfade
fi
"""
FISH = """\
# Completes crossfade in fish. For good: crossfade completion fish > ~/.config/fish/completions/crossfade.fish
function __crossfade_complete
    set -l words (commandline -opc)
    set -l found ($words[1] __complete fish $words[2..-1] (commandline -ct) 2>/dev/null)
    if string match -q -- ":files*" $found
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c crossfade -f -a '(__crossfade_complete)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion(arguments: Namespace) -> int:
    print(SHELLS[arguments.shell], end="")
    return OK
