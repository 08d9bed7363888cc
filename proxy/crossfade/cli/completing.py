"""What a shell may complete at the end of a command line: commands, options, and names of the running proxy.

Rule: whoever presses Tab waits for a second at most, and sees no error. What a word is comes from the parser itself, so that a new
command completes without a word here.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from crossfade.cli.arguments import build_parser
from crossfade.cli.exits import OK, CommandFailed
from crossfade.cli.parsing import commands_of

PATIENCE = 1.0  # seconds
FILES = ":files"  # a line that tells the shell to complete names of files
BASH_BREAKS = ":="  # where bash begins another word
_FILE_METAVARS = ("FILE", "OLD", "NEW")


class Offer(NamedTuple):
    value: str
    about: str = ""


class Position(NamedTuple):
    """Where the last word of a line stands. `given`: the words before it for each positional argument; `action`: None for none."""

    parser: argparse.ArgumentParser
    action: argparse.Action | None
    given: dict[str, list[str]]
    last: str


Ask = Callable[[str], Any]  # a path below /api/v1 → its answer; raises CommandFailed


def complete(arguments: Sequence[str]) -> int:
    """`arguments`: `bash LINE`, or `zsh|fish WORD…` with the last word as far as it is written. Prints a offer on each line."""
    shell, *words = arguments
    if shell == "bash":
        words = _words_of(words[0])
    parser = build_parser()
    for offer in offers(parser, words, _asking(parser, words)):
        if shell == "bash":
            print(offer.value[_break_in(words[-1]) :])
        else:
            print(f"{offer.value}\t{offer.about}")
    return OK


def offers(parser: argparse.ArgumentParser, words: Sequence[str], ask: Ask) -> Iterator[Offer]:
    """`words`: behind `crossfade`, the last one as far as it is written. `FILES` as the only one: names of files."""
    position = position_of(parser, words)
    found = list(_possible(position, ask))
    if [offer.value for offer in found] == [FILES]:
        yield from found
        return
    yield from (offer for offer in found if offer.value.startswith(position.last))


def position_of(parser: argparse.ArgumentParser, words: Sequence[str]) -> Position:
    given: dict[str, list[str]] = {}
    waiting: argparse.Action | None = None  # the option whose value comes next
    for word in words[:-1]:
        if waiting is not None:
            given.setdefault(waiting.dest, []).append(word)
            waiting = None
        elif word.startswith("-") and word != "-":
            waiting = _option(parser, word)
        elif (commands := commands_of(parser)) is not None:
            if word not in commands.choices:
                return Position(parser, None, given, words[-1])
            parser = commands.choices[word]
        elif (action := _next_positional(parser, given)) is not None:
            given.setdefault(action.dest, []).append(word)
    last = words[-1] if words else ""
    if waiting is None and not last.startswith("-"):
        waiting = commands_of(parser) or _next_positional(parser, given)
    return Position(parser, waiting, given, last)


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """The option with this name, if a value follows."""
    action = next((a for a in parser._actions if word in a.option_strings), None)
    return action if action is not None and action.nargs != 0 else None


def _next_positional(parser: argparse.ArgumentParser, given: dict[str, list[str]]) -> argparse.Action | None:
    for action in parser._actions:
        if not action.option_strings and (action.nargs == "+" or action.dest not in given):
            return action
    return None


def _possible(position: Position, ask: Ask) -> Iterator[Offer]:
    action = position.action
    if action is None:
        if position.last.startswith("-"):
            yield from _options(position.parser)
        return
    if isinstance(action, argparse._SubParsersAction):
        yield from (Offer(choice.dest, choice.help or "") for choice in action._choices_actions)
    elif action.choices is not None:
        yield from (Offer(str(choice)) for choice in action.choices)
    elif action.metavar in _FILE_METAVARS:
        yield Offer(FILES)
    else:
        try:
            yield from _names(action, position.given, ask)
        except CommandFailed:
            return


def _options(parser: argparse.ArgumentParser) -> Iterator[Offer]:
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            about = (action.help or "").replace("%%", "%")
            yield from (Offer(name, about) for name in action.option_strings if name.startswith("--"))


def _names(action: argparse.Action, given: dict[str, list[str]], ask: Ask) -> Iterable[Offer]:
    """Of the running proxy, by what the argument is called."""
    route = given.get("route", [""])[0]
    match action.metavar, action.dest:
        case ("ROUTE", _) | (_, "route"):
            return [Offer(r["name"], _split(r["split"])) for r in ask("routes")["routes"]]
        case "BACKEND", _:
            return [Offer(b["name"], b["version"] or "") for b in ask("backends")["backends"]]
        case "ENDPOINT", _:
            backend = given.get("backend", [""])[0]
            found = [b for b in ask("backends")["backends"] if b["name"] == backend]
            return [Offer(e["url"], "" if e["up"] else "down") for b in found for e in b["endpoints"]]
        case "BACKEND=WEIGHT", _:
            named = {pair.partition("=")[0] for pair in given.get("weights", [])}
            return [Offer(f"{b['name']}=") for b in ask("backends")["backends"] if b["name"] not in named]
        case _, "challenger":
            rollouts = [r for r in ask("rollouts")["rollouts"] if route in ("", r["route"])]
            return [Offer(r["challenger"], r["phase"]) for r in rollouts]
        case _:
            return []


def _split(split: dict[str, float]) -> str:
    return ", ".join(f"{name} {share * 100:.3g}%" for name, share in split.items() if share)


def _asking(parser: argparse.ArgumentParser, words: Sequence[str]) -> Ask:
    """Asks the proxy that the line itself names, else that of the environment."""

    def ask(path: str) -> Any:
        from crossfade.cli.client import AdminClient

        given = position_of(parser, [*words[:-1], ""]).given
        asked = parser.parse_args(["status"])
        for name in ("admin", "token", "cacert", "cert", "key"):
            setattr(asked, name, given.get(name, [getattr(asked, name)])[-1])
        admin = AdminClient.of(asked)
        admin.timeout = PATIENCE
        return admin.get(path)

    return ask


def _words_of(line: str) -> list[str]:
    """Of a line of bash up to the cursor, without the command itself. What stands behind an open quote is one word."""
    for close in ("", "'", '"'):
        try:
            words = shlex.split(line + close)
        except ValueError:
            continue
        return [*words[1:], *([""] if not close and line.endswith((" ", "\t")) else [])] or [""]
    return [""]


def _break_in(word: str) -> int:
    """How many characters of the word bash takes for words before it."""
    return max(word.rfind(character) for character in BASH_BREAKS) + 1
