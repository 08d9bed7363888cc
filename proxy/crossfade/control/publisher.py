"""Sends the state to the workers as snapshots, and knows when they serve by the last one."""

from __future__ import annotations

import asyncio
from time import monotonic

from crossfade.control.controller_state import ControllerState
from crossfade.control.seam import Seam
from crossfade.routing.compiling import compile_snapshot
from crossfade.routing.snapshot import Limits, Snapshot, with_drained


class Publisher:
    def __init__(self, state: ControllerState, seam: Seam) -> None:
        self.state = state
        self.seam = seam
        self._limits: dict[str, Limits] = {}  # by route, as published
        self._acknowledged: asyncio.Future[None] | None = None  # of the last snapshot

    def publish(self, decided: float | None = None) -> None:
        """`decided`: when the decision behind the snapshot was made, on the monotonic clock."""
        self.state.generation += 1
        self._limits = {route.name: route.limits for route in self.state.routes.values()}
        self._acknowledged = self.seam.publish(self.snapshot())
        if decided is not None:
            took = self.state.decision_to_traffic
            self._acknowledged.add_done_callback(lambda _: took.add(monotonic() - decided))

    def snapshot(self) -> Snapshot:
        """Of the state as it is."""
        routes = self.state.routes.values()
        snapshot = compile_snapshot(
            self.state.config,
            {route.name: route.record.ledger for route in routes},
            {route.name: route.roles for route in routes},
            self.state.down,
            self.state.generation,
            {route.name: route.trial for route in routes},
            self.state.cookie_secret,
        )
        return with_drained(snapshot, self.state.drained) if self.state.drained else snapshot

    @property
    def has_other_limits(self) -> bool:
        """Whether limits of latency checks are other than the workers have."""
        return any(route.limits != self._limits.get(route.name, {}) for route in self.state.routes.values())

    async def served(self) -> None:
        """Returns when every live worker serves from the last snapshot."""
        if self._acknowledged is not None and not self._acknowledged.done():
            await asyncio.wait([self._acknowledged])
