"""`crossfade watch`: routes and rollouts live on a terminal; elsewhere a line for each change, or with --json each look.

Rule: a proxy that cannot be reached for a while does not end it. The screen says so, and from when its numbers are.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import OK, USAGE, CommandFailed
from crossfade.cli.look import Look, looks_at
from crossfade.cli.option_values import seconds_of
from crossfade.cli.output import print_text


def watch(arguments: Namespace) -> int:
    every = seconds_of("--every", arguments.every)
    if every <= 0:
        raise CommandFailed(USAGE, f"--every {arguments.every}: must be above 0")
    looks = looks_at(AdminClient.of(arguments), arguments.route, every)
    if arguments.json:
        for look in looks:
            print(json.dumps({"at": look.at, "lost": look.lost, "status": look.status}), flush=True)
    elif _is_screen():
        _on_screen(looks, arguments.route)
    else:
        _in_lines(looks)
    return OK


def _is_screen() -> bool:
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


def _on_screen(looks: Iterator[Look], route: str | None) -> None:
    from rich.live import Live

    from crossfade.cli.watch_screen import screen

    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        for look in looks:
            live.update(screen(look, route), refresh=True)


def _in_lines(looks: Iterator[Look]) -> None:
    """Decisions since the start, and what the last look did not have."""
    from crossfade.cli.event_stream import Event
    from crossfade.cli.events import clock, line_of

    told: dict[str, str] = {}
    newest, lost = -1, ""
    for look in looks:
        if look.lost:
            if not lost:
                print_text(f"crossfade: {look.lost}", sys.stderr)
            lost = look.lost
            continue
        lost = ""
        for decision in look.decisions:
            if decision["id"] > newest >= 0:
                print_text(line_of(Event("decision", decision["id"], decision)))
        newest = max([newest, 0, *(decision["id"] for decision in look.decisions)])
        for place, line in _places_and_states(look.status):
            if told.get(place) != line:
                print_text(f"{clock(look.at)}  {place}: {line}")
                told[place] = line
        sys.stdout.flush()


def _places_and_states(status: Any) -> Iterator[tuple[str, str]]:
    """What each route and rollout is at, in words that do not change with each request."""
    from crossfade.cli.show import endpoint_state, step_of
    from crossfade.rollout.verdict import percent

    for route in status["routes"]:
        yield route["name"], ", ".join(f"{name} {percent(share)}" for name, share in route["split"].items())
    for rollout in status["rollouts"]:
        verdicts = ", ".join(f"{v['check']} {v['verdict']}" for v in rollout["verdicts"])
        line = f"{rollout['phase']}, step {step_of(rollout)} at {percent(rollout['weight'])}"
        yield f"{rollout['route']} ({rollout['challenger']})", f"{line}; {verdicts}" if verdicts else line
    for backend in status["backends"]:
        for endpoint in backend["endpoints"]:
            state = endpoint_state(endpoint | {"in_flight": 0}, backend["panic"])
            yield f"{backend['name']} {endpoint['url']}", state.replace("drained, 0 in flight", "drained")
