"""Every command in words, read from the parser: for the manual page and for docs/cli.md.

The same for each version of Python, whose argparse words its own help differently.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, NamedTuple

from crossfade.cli.arguments import build_parser
from crossfade.cli.parsing import admin_options


class Argument(NamedTuple):
    """`name`: as it is written, such as `-o, --output FILE`."""

    name: str
    about: str


class Command(NamedTuple):
    """`asks_proxy`: it also has the options that all commands to a running proxy have."""

    name: str
    about: str
    usage: str
    arguments: list[Argument]
    options: list[Argument]
    asks_proxy: bool


def described() -> list[Command]:
    """In the order of the help."""
    parser = build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return [_command(name, commands.choices[name]) for name in commands.choices]


def options_of_all() -> list[Argument]:
    """Of the commands that ask a running proxy."""
    return _arguments(admin_options()._actions)


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    common = {action.dest for action in admin_options()._actions}
    dests = {action.dest for action in parser._actions}
    asks = "admin" in dests
    own = [a for a in parser._actions if a.dest != "help" and not (asks and a.dest in common)]
    shown = [action for action in own if action.help != argparse.SUPPRESS]
    positional = [action for action in shown if not action.option_strings]
    optional = [action for action in shown if action.option_strings]
    required = [f"{action.option_strings[-1]} {_value(action)}" for action in optional if action.required]
    words = ["crossfade", name, *(["[OPTIONS]"] if optional or asks else []), *required]
    words += [_positional(action) for action in positional]
    about = parser.description or ""
    return Command(name, about, " ".join(words), _arguments(positional), _arguments(optional), asks)


def _arguments(actions: Iterable[argparse.Action]) -> list[Argument]:
    return [Argument(_name(action), _about(action)) for action in actions]


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar)
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {_value(action)}"


def _value(action: argparse.Action) -> str:
    if action.metavar is not None:
        return str(action.metavar)
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _positional(action: Any) -> str:
    shown = {"+": f"{action.metavar}…", "?": f"[{action.metavar}]"}
    return shown.get(action.nargs, str(action.metavar))


def _about(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")
