"""Looks at a running proxy, one after another: its status and its latest decisions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import UNKNOWN_NAME, UNREACHABLE, CommandFailed

DECISIONS = 8  # in a look


class Look(NamedTuple):
    """`lost`: why the proxy cannot be asked now; then the others are from `at`."""

    at: float
    status: Any
    decisions: list[Any]
    lost: str = ""


def looks_at(admin: AdminClient, route: str | None, every: float) -> Iterator[Look]:
    """Without end. Raises CommandFailed if the first look fails, or the proxy refuses."""
    look = _look(admin, route)
    while True:
        yield look
        time.sleep(every)
        try:
            look = _look(admin, route)
        except CommandFailed as failed:
            if failed.code != UNREACHABLE:
                raise
            look = look._replace(lost=str(failed))


def _look(admin: AdminClient, route: str | None) -> Look:
    status = admin.get("status")
    if route:
        status = of_route(status, route)
    found = admin.get("decisions", query={"route": route, "limit": str(DECISIONS)})
    return Look(time.time(), status, found["decisions"])


def of_route(status: Any, name: str) -> Any:
    """What concerns this route. Raises CommandFailed if there is none."""
    routes = [route for route in status["routes"] if route["name"] == name]
    if not routes:
        raise CommandFailed(
            UNKNOWN_NAME, f"no route is called {name}", "`crossfade status` lists the routes."
        )
    concerned = {*routes[0]["backends"], *routes[0]["split"]}
    return status | {
        "routes": routes,
        "rollouts": [rollout for rollout in status["rollouts"] if rollout["route"] == name],
        "backends": [backend for backend in status["backends"] if backend["name"] in concerned],
        "retrain": [retrain for retrain in status["retrain"] if retrain["route"] == name],
    }
