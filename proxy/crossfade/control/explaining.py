"""Explains a request by the snapshot that the workers serve from, or by a configuration that no proxy runs with."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from time import time
from typing import NamedTuple

from crossfade.config.load import Loaded
from crossfade.control.change import Cause
from crossfade.control.controller_state import ControllerState
from crossfade.control.loading import Held, Reconciled, reconcile
from crossfade.control.publisher import Publisher
from crossfade.control.route_runtime import RouteRuntime
from crossfade.routing.compiling import compile_snapshot
from crossfade.routing.explaining import Steps, explain
from crossfade.routing.explanation import AskedRequest, Copy, EndpointChoice, Explanation
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Cell

NOTHING_HELD: Held = {}
_GROUP = re.compile(r"\\[1-9]")  # of a substitution


class Explaining:
    """Of a running proxy. The router is kept as long as its snapshot is in use."""

    def __init__(self, state: ControllerState, publisher: Publisher) -> None:
        self.state = state
        self.publisher = publisher
        self._router: Router | None = None

    async def explain(self, asked: AskedRequest, now: float) -> Explanation:
        """`now`: seconds since the epoch. Raises ValueError for what cannot be sent as a request.

        In a thread: each backend that a key could move to takes a dozen ledgers.
        """
        snapshot = self.publisher.snapshot()
        if self._router is None or self._router.snapshot != snapshot:
            self._router = _router_of(snapshot)
        steps = steps_of(self.state.routes.values())
        found = await asyncio.to_thread(explain, self._router, asked, steps, now)
        return without_variables(found, self.state.config.config.from_variables)


def without_variables(found: Explanation, from_variables: Collection[str]) -> Explanation:
    """A path that comes from a variable may hold a key; it is shown as `/***`, as the configuration does not show it either."""
    paths = [value for value in from_variables if value.startswith("/")]
    parts = {part for path in paths for part in _GROUP.split(path) if len(part) > 1}
    said: list[EndpointChoice | Copy] = [*found.endpoints, *found.mirrors]
    for shown in said:
        for part in sorted(parts, key=len, reverse=True):
            shown.target = shown.target.replace(part, "/***" if part.startswith("/") else "***")
    return found


def _router_of(snapshot: Snapshot) -> Router:
    """An id that it would assign to a new visitor is not used, and so need not be drawn."""
    return Router(snapshot, time, bytes)


def steps_of(routes: Iterable[RouteRuntime]) -> dict[str, list[Steps]]:
    """By route, of the rollouts whose challenger is on trial."""
    return {
        route.name: [
            Steps(state.champion, state.challenger, tuple(step.weight for step in state.steps))
            for state in route.record.rollouts.values()
            if state.is_running
        ]
        for route in routes
    }


class FileState(NamedTuple):
    """The state that a proxy has when it is started by a file; `held`, when it loaded that file."""

    reconciled: Reconciled
    routes: Mapping[str, RouteRuntime]


def state_by_file(loaded: Loaded, held: Held = NOTHING_HELD) -> FileState:
    """`held`: the state before; without it the file is the first. Raises Refused if the file cannot follow that state."""
    cause = Cause("", "", 0.0, loaded.hash, 0.0, loaded.config.backends)
    reconciled = reconcile(loaded.config, held, cause, lambda route, backend: Cell(route, backend, "", 0))
    routes = {r.record.name: RouteRuntime(r.route, r.record, r.evidence) for r in reconciled.routes}
    return FileState(reconciled, routes)


def explain_by_file(loaded: Loaded, asked: AskedRequest, now: float) -> Explanation:
    """As a proxy would that was started now with this file and an empty state, and whose endpoints are all up."""
    state = state_by_file(loaded)
    routes = state.routes.values()
    snapshot = compile_snapshot(
        loaded,
        {route.name: route.record.ledger for route in routes},
        {route.name: route.roles for route in routes},
        (),
        1,
        {route.name: route.trial for route in routes},
    )
    return explain(_router_of(snapshot), asked, steps_of(routes), now)
