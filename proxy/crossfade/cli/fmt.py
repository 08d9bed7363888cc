"""`crossfade fmt`: lays configurations out alike. Comments and the order of keys stay as they are."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from crossfade.cli.exits import INVALID, OK, CommandFailed
from crossfade.cli.local import STDIN, config_at
from crossfade.cli.output import print_json, print_text
from crossfade.config.formatting import NotFormatted, formatted
from crossfade.config.problem import ConfigError


def fmt(arguments: Namespace) -> int:
    """With --check or --diff nothing is written, and the exit code is 1 where a file would change."""
    changed = [name for name in arguments.files if _changes(name, arguments)]
    if arguments.json:
        print_json({"changed": changed})
    only_looks = arguments.check or arguments.diff
    if only_looks and not arguments.json:
        for name in changed:
            print_text(f"{name}: would be changed; `crossfade fmt {name}` does it", sys.stderr)
    return INVALID if only_looks and changed else OK


def _changes(name: str, arguments: Namespace) -> bool:
    """Whether the layout differs. Writes the file, or standard output for `-`. Raises CommandFailed."""
    source = STDIN if name == "-" else name
    try:
        text = config_at(name)
        new = formatted(text)
    except NotFormatted as error:
        raise CommandFailed(
            INVALID, f"{source}:{error.line}:{error.column}: {error}", "Nothing is written."
        ) from None
    except ConfigError as error:
        raise CommandFailed(INVALID, str(error)) from None
    if arguments.diff:
        _show_diff(text, new, source)
    if not (arguments.check or arguments.diff):
        if name == "-":
            print(new, end="")
        elif new != text:
            _write(Path(name), new)
    return new != text


def _show_diff(text: str, new: str, source: str) -> None:
    from difflib import unified_diff

    for line in unified_diff(
        text.splitlines(), new.splitlines(), source, f"{source}, formatted", lineterm=""
    ):
        print_text(line)


def _write(file: Path, text: str) -> None:
    """In place of the file at once, with its mode: a proxy that follows it never reads a half. A link stays a link."""
    target = file.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_text(text, "utf-8")
        beside.chmod(target.stat().st_mode & 0o7777)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CommandFailed(INVALID, f"cannot write {file}: {error.strerror}") from None
