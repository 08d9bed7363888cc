"""`crossfade man`: the manual page in the language of man(1), made of the parser's own words."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable

from crossfade.cli.described import Argument, Command, described, options_of_all
from crossfade.cli.exits import EPILOG, OK

VARIABLES = {
    "CROSSFADE_ADMIN_URL": "URL of the admin API, in place of --admin",
    "CROSSFADE_ADMIN_TOKEN": "token of the admin API, in place of --token",
    "CROSSFADE_ADMIN_CACERT, CROSSFADE_ADMIN_CERT, CROSSFADE_ADMIN_KEY": "files for TLS, in place of --cacert, --cert and --key",
    "CROSSFADE_OVERRIDE_SECRET": "the secret that `crossfade token` signs with",
    "NO_COLOR": "if it is set and not empty, nothing is coloured",
}
_ABOUT = (
    "A reverse proxy that splits the traffic of machine-learning models between their versions, watches what they answer, "
    "and promotes a version or takes it back."
)


def manual(arguments: Namespace) -> int:
    print(page(described()), end="")
    return OK


def page(commands: Iterable[Command]) -> str:
    lines = [
        '.TH CROSSFADE 1 "" "crossfade" "User Commands"',
        ".SH NAME",
        _escaped("crossfade - a traffic-splitting reverse proxy for versions of a model"),
        ".SH SYNOPSIS",
        "\\fBcrossfade\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]",
        ".SH DESCRIPTION",
        _escaped(_ABOUT),
        ".SH COMMANDS",
    ]
    for command in commands:
        lines += [f".SS {_escaped(command.name)}", _escaped(command.about), ".PP", _bold(command.usage)]
        lines += _list([*command.arguments, *command.options])
    lines += [".SH OPTIONS", "Of the commands that ask a running proxy:", *_list(options_of_all())]
    lines += [".SH EXIT STATUS", *_list(exit_codes())]
    lines += [".SH ENVIRONMENT", *_list(Argument(*pair) for pair in VARIABLES.items())]
    return "\n".join(lines) + "\n"


def exit_codes() -> list[Argument]:
    rows = [line.split(maxsplit=1) for line in EPILOG.splitlines()[1:]]
    return [Argument(code, meaning) for code, meaning in rows]


def _list(arguments: Iterable[Argument]) -> list[str]:
    out = []
    for argument in arguments:
        out += [".TP", _bold(argument.name)]
        out.append(_escaped(argument.about) or "\\&")
    return out


def _bold(text: str) -> str:
    return f"\\fB{_escaped(text)}\\fR"


def _escaped(text: str) -> str:
    """A backslash, a dash of an option and a dot at the beginning of a line would mean something to troff."""
    out = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{out}" if out.startswith((".", "'")) else out
