"""How a command is described: its name, its handler, and the options that many commands have."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from importlib import import_module

from crossfade.cli.exits import USAGE, CommandFailed

ADMIN = "http://127.0.0.1:9901"

_FILES = {
    "cacert": "whom to trust with https://: certificates of authorities, or that of the admin API itself",
    "cert": "what to show an admin API that asks for a certificate",
    "key": "the private key of --cert",
}

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_force(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--force", action="store_true", help="also if a backend that gets more traffic is down"
    )


def add_dry_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="do nothing; say who would move, what is in flight, and why it would be refused (exit code 1)",
    )


def add_challenger(command: argparse.ArgumentParser) -> None:
    command.add_argument("--challenger", metavar="NAME", help="which rollout, if the route has several")


def add(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    handler: str,
    about: str,
    *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """`handler`: `MODULE.FUNCTION` of this package, imported when the command runs: whoever asks for help waits for none of them."""
    command = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", parents=parents, allow_abbrev=False
    )
    command.set_defaults(handler=handler)
    return command


def admin_options() -> argparse.ArgumentParser:
    """The options of every command that calls the admin API."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--admin",
        metavar="URL",
        default=os.environ.get("CROSSFADE_ADMIN_URL") or ADMIN,
        help=f"URL of the admin API, or unix:/path (default: CROSSFADE_ADMIN_URL, else {ADMIN})",
    )
    options.add_argument(
        "--token",
        default=os.environ.get("CROSSFADE_ADMIN_TOKEN", ""),
        help="token of the admin API (default: CROSSFADE_ADMIN_TOKEN)",
    )
    for name, about in _FILES.items():
        variable = f"CROSSFADE_ADMIN_{name.upper()}"
        options.add_argument(
            f"--{name}",
            metavar="FILE",
            default=os.environ.get(variable, ""),
            help=f"{about} (default: {variable})",
        )
    options.add_argument("--json", action="store_true", help="print the JSON of the admin API")
    return options


def commands_of(parser: argparse.ArgumentParser) -> Commands[argparse.ArgumentParser] | None:
    return next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)


def refuse_unknown(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Raises CommandFailed for a command that there is not, with the nearest one: argparse would list all."""
    from crossfade.config.problem import nearest, shown

    commands = commands_of(parser)
    word = argv[0] if argv else "-"
    if commands is None or word.startswith("-") or word in commands.choices:
        return
    near = nearest(word, commands.choices)
    advice = f"Did you mean `crossfade {near}`?" if near else "`crossfade --help` lists the commands."
    raise CommandFailed(USAGE, f"there is no command {shown(word)}", advice)


def handler_of(named: str) -> Callable[[argparse.Namespace], int]:
    """The function that does the command; it returns the exit code."""
    module, _, function = named.partition(".")
    found: Callable[[argparse.Namespace], int] = getattr(import_module(f"crossfade.cli.{module}"), function)
    return found
