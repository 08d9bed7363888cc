"""`crossfade status --wait PHASE`: returns when a rollout has reached a phase, as a gate of a pipeline.

Rule: code 0 only if the rollout is in that phase. A proxy that cannot be reached at the start ends the wait; one that cannot be
reached later may have been restarted, and is asked again until the time is over.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import (
    ENDED_OTHERWISE,
    OK,
    TIMED_OUT,
    UNKNOWN_NAME,
    UNREACHABLE,
    USAGE,
    CommandFailed,
)
from crossfade.cli.option_values import seconds_of
from crossfade.cli.output import print_json, print_text

ASK_EVERY = 1.0  # seconds

# From the first phase a rollout comes into the others without `retry` or `restart`, which begin another attempt.
_CAN_COME = {
    "progressing": ("progressing", "paused", "promoted", "aborted", "rolled_back"),
    "paused": ("progressing", "paused", "promoted", "aborted", "rolled_back"),
    "promoted": ("promoted", "rolled_back"),
    "aborted": ("aborted",),
    "rolled_back": ("rolled_back",),
}


def wait_for_phase(arguments: Namespace) -> int:
    from crossfade.cli.show import show_rollout

    patience = seconds_of("--timeout", arguments.timeout)
    end = time.monotonic() + patience if patience else None
    admin = AdminClient.of(arguments)
    rollout, code = _watched(admin, arguments, end)
    if arguments.json:
        print_json(rollout)
    else:
        show_rollout(rollout)
    if code:
        why = "the time is over" if code == TIMED_OUT else "the rollout has ended"
        print_text(
            f"crossfade: {rollout['route']} is {rollout['phase']}, not {arguments.wait}: {why}", sys.stderr
        )
        print_text(f"`crossfade why {rollout['route']}` says why.", sys.stderr)
    return code


def _watched(admin: AdminClient, arguments: Namespace, end: float | None) -> tuple[Any, int]:
    """The rollout at the end of the wait, and the exit code."""
    route = arguments.route or _only_route(admin)
    rollout = _rollout(admin, route, arguments.challenger)
    told = ""
    while True:
        if rollout["phase"] == arguments.wait:
            return rollout, OK
        if arguments.wait not in _CAN_COME[rollout["phase"]]:
            return rollout, ENDED_OTHERWISE
        if (line := _progress(rollout)) != told:
            print_text(line, sys.stderr)
            told = line
        left = ASK_EVERY if end is None else end - time.monotonic()
        if left <= 0:
            return rollout, TIMED_OUT
        time.sleep(min(ASK_EVERY, left))
        rollout = _asked_again(admin, route, rollout["challenger"], end) or rollout


def _asked_again(admin: AdminClient, route: str, challenger: str, end: float | None) -> Any:
    """None: it cannot be reached now. Raises CommandFailed if it could not be reached until the end."""
    try:
        return _rollout(admin, route, challenger)
    except CommandFailed as failed:
        if failed.code != UNREACHABLE or (end is not None and time.monotonic() >= end):
            raise
        return None


def _rollout(admin: AdminClient, route: str, challenger: str | None) -> Any:
    return admin.get("rollouts", route, query={"challenger": challenger})


def _only_route(admin: AdminClient) -> str:
    routes = {rollout["route"] for rollout in admin.get("rollouts")["rollouts"]}
    if not routes:
        raise CommandFailed(UNKNOWN_NAME, "there is no rollout to wait for", "`crossfade status` shows all.")
    if len(routes) > 1:
        raise CommandFailed(USAGE, f"name the route: {', '.join(sorted(routes))} have rollouts")
    return str(*routes)


def _progress(rollout: Any) -> str:
    from crossfade.cli.show import step_of
    from crossfade.rollout.verdict import percent

    return f"{rollout['route']}: {rollout['phase']}, step {step_of(rollout)}, {rollout['challenger']} at {percent(rollout['weight'])}"
