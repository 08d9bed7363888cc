"""The commands that show what happens: status, watch, events, explain."""

from __future__ import annotations

import argparse

from crossfade.cli.curl_options import add_curl_options
from crossfade.cli.parsing import Commands, add, add_challenger

PHASES = ("progressing", "paused", "promoted", "aborted", "rolled_back")


def add_live(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    _add_status(commands, admin)
    _add_watch(commands, admin)
    _add_events(commands, admin)
    _add_explain(commands, admin)


def _add_status(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    status = add(commands, "status", "remote.status", "show weights, traffic, rollouts and backends", admin)
    status.add_argument("route", metavar="ROUTE", nargs="?", help="only this route, and its backends")
    status.add_argument(
        "--wait",
        metavar="PHASE",
        choices=PHASES,
        help=f"return when the rollout is {', '.join(PHASES)}; with exit code 7 if it has ended in another phase",
    )
    status.add_argument(
        "--timeout",
        metavar="TIME",
        default="",
        help="how long --wait waits, such as 1h; then it returns with exit code 5 (default: without end)",
    )
    add_challenger(status)


def _add_watch(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    about = "show routes and rollouts live; where there is no terminal, print a line for each change"
    live = add(commands, "watch", "watch.watch", about, admin)
    live.add_argument("route", metavar="ROUTE", nargs="?", help="one route, with its checks and decisions")
    live.add_argument("--every", metavar="TIME", default="1s", help="time between two looks (default: 1s)")


def _add_events(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    about = "print the latest decisions, and with --follow all that happens from then on"
    listed = add(commands, "events", "events.events", about, admin)
    listed.add_argument("--route", metavar="NAME", default="", help="only of this route")
    listed.add_argument("--last", metavar="N", type=int, default=20, help="how many decisions (default: 20)")
    listed.add_argument(
        "-f", "--follow", action="store_true", help="go on with each new decision and each change of status"
    )


def _add_explain(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    about = "show which route and backend a request would get and why; the request is written as for curl"
    asked = add(commands, "explain", "explain.explain", about, admin)
    add_curl_options(asked)
    asked.add_argument(
        "--config", metavar="FILE", help="ask no proxy: as one would that starts with this file and no state"
    )
