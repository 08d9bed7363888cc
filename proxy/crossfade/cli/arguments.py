"""Every command and option of `crossfade`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from crossfade.cli import local, remote
from crossfade.cli.exits import EPILOG

ADMIN = "http://127.0.0.1:9901"
STATE = "crossfade.db"  # as in the configuration's default

VERBS = {
    "promote": "make the challenger the champion, now",
    "abort": "end the rollout; the champion takes everything back",
    "rollback": "after a promote: the former champion returns",
    "pause": "hold the rollout where it is",
    "resume": "go on with a paused rollout, or approve the step that waits for it",
    "retry": "begin again after an abort or a rollback",
}

Command = Callable[[argparse.Namespace], int]
Commands = argparse._SubParsersAction  # the only name that argparse gives it


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crossfade",
        description="A traffic-splitting reverse proxy for versions of a model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_local(commands)
    add_remote(commands, admin_options())
    return parser


def add_local(commands: Commands[argparse.ArgumentParser]) -> None:
    run = add(commands, "run", local.run, "serve with this configuration")
    run.add_argument("file", metavar="FILE")
    run.add_argument(
        "--takeover", action="store_true", help="from the proxy that holds the same state, losing no request"
    )
    check = add(commands, "check", local.check, "find every problem in configuration files")
    check.add_argument("files", metavar="FILE", nargs="+", help="- reads standard input")
    check.add_argument("--json", action="store_true", help="print JSON")
    replay = add(commands, "replay", local.replay, "run the journal's decisions through this version again")
    replay.add_argument("--state", metavar="FILE", default=STATE, help=f"the database (default: {STATE})")
    replay.add_argument("--json", action="store_true", help="print JSON")
    demo = add(commands, "demo", local.demo, "whole rollouts on this machine, with models and customers")
    demo.add_argument("--keep", action="store_true", help="leave the proxy and the models up until Ctrl-C")
    token = add(commands, "token", local.token, "print a token by which a tester picks a route's backend")
    token.add_argument("route", metavar="ROUTE")
    token.add_argument("backend", metavar="BACKEND")
    token.add_argument("--expires", metavar="TIME", default="1h", help="how long it is good (default: 1h)")
    source = token.add_mutually_exclusive_group()
    source.add_argument("--config", metavar="FILE", help="the configuration with its secret, and the names")
    source.add_argument(
        "--secret",
        default=os.environ.get("CROSSFADE_OVERRIDE_SECRET", ""),
        help="the secret itself (default: CROSSFADE_OVERRIDE_SECRET)",
    )
    add(commands, "schema", local.schema, "print the JSON Schema of the configuration")
    add(commands, "version", local.version, "print the version")


def add_remote(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    add(commands, "status", remote.status, "what the running proxy does", admin)
    split = add(commands, "split", remote.split, "set the weights of a route", admin)
    split.add_argument("route", metavar="ROUTE")
    split.add_argument(
        "weights", metavar="BACKEND=WEIGHT", nargs="+", help="such as v2=95%% v3=5%%, or v2=19 v3=1"
    )
    for verb, about in VERBS.items():
        command = add(commands, verb, remote.command, about, admin)
        command.set_defaults(verb=verb)
        command.add_argument("route", metavar="ROUTE")
        add_challenger(command)
        command.add_argument("--reason", default="", help="for the journal")
    why = add(commands, "why", remote.why, "the last decision on a route, and what would change it", admin)
    why.add_argument("route", metavar="ROUTE")
    add_challenger(why)
    add(commands, "reload", remote.reload, "read the configuration file again", admin)


def add_challenger(command: argparse.ArgumentParser) -> None:
    command.add_argument("--challenger", metavar="NAME", help="whose rollout, where the route has several")


def add(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    act: Command,
    about: str,
    *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", parents=parents, allow_abbrev=False
    )
    command.set_defaults(act=act)
    return command


def admin_options() -> argparse.ArgumentParser:
    """What every command takes that talks to a running proxy."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--admin",
        metavar="URL",
        default=os.environ.get("CROSSFADE_ADMIN_URL") or ADMIN,
        help=f"the admin API (default: CROSSFADE_ADMIN_URL, else {ADMIN})",
    )
    options.add_argument(
        "--token",
        default=os.environ.get("CROSSFADE_ADMIN_TOKEN", ""),
        help="its token (default: CROSSFADE_ADMIN_TOKEN)",
    )
    options.add_argument("--json", action="store_true", help="print JSON, as the admin API gave it")
    return options
