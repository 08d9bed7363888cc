"""The seam between the planes: a snapshot goes down, counts and the workers' status come up."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from crossfade.control.observations import LatestObservations
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts


class WorkerStatus(msgspec.Struct):
    """`generation`: of the snapshot in use. `loop_lag` in seconds. `in_flight` by backend."""

    worker: int
    pid: int
    up: bool
    generation: int
    connections: int
    loop_lag: float
    in_flight: dict[str, int]
    restarts: int = 0  # workers that died or hung in its place before


class Seam(Protocol):
    observations: LatestObservations

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        """Send it to every worker. The future ends when all that live serve from it; nobody has to await it."""

    def take(self) -> Counts:
        """The counts of all workers since the last call."""

    def workers(self) -> list[WorkerStatus]: ...


def acknowledged() -> asyncio.Future[None]:
    """What `publish` returns where the snapshot is in use at once."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
