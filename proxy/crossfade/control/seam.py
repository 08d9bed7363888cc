"""The seam between the planes: a snapshot goes down, counts come up, and nothing else crosses."""

from __future__ import annotations

from typing import Protocol

import msgspec

from crossfade.control.observations import LatestObservations
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts


class WorkerStatus(msgspec.Struct):
    """`generation` is that of the snapshot served from; `loop_lag` in seconds; `in_flight` by backend."""

    worker: int
    pid: int
    up: bool
    generation: int
    connections: int
    loop_lag: float
    in_flight: dict[str, int]
    restarts: int = 0  # how many before it have died or hung in its place


class Seam(Protocol):
    observations: LatestObservations

    async def publish(self, snapshot: Snapshot) -> None:
        """Returns when every live worker serves from this snapshot."""

    def take(self) -> Counts:
        """What all workers have counted since the last call."""

    def workers(self) -> list[WorkerStatus]: ...
