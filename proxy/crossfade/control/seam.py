"""The seam between the planes: a snapshot goes down, counts and the workers' status come up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from crossfade.control.comparisons import Comparisons
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.logged_batches import Taken
from crossfade.control.observations import LatestObservations
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts
from crossfade.stats.histogram import Histogram


class QueueStatus(msgspec.Struct):
    """Of one backend: requests that wait for a place in flight now, and those that have waited, by outcome.

    The outcome is `sent`, or the stage that ended the wait.
    """

    length: int = 0
    outcomes: dict[str, int] = {}
    waits: Histogram = msgspec.field(default_factory=Histogram)  # seconds, whatever the outcome

    def plus(self, other: QueueStatus) -> QueueStatus:
        """Of two workers, or of a worker and the one in whose place it is."""
        waits = Histogram()
        for each in (self, other):
            waits.merge(each.waits)
        outcomes = Counter(self.outcomes) + Counter(other.outcomes)
        return QueueStatus(self.length + other.length, dict(outcomes), waits)


def sum_of_queues(each: Iterable[Mapping[str, QueueStatus]]) -> dict[str, QueueStatus]:
    """By backend."""
    out: dict[str, QueueStatus] = {}
    for queues in each:
        for name, queue in queues.items():
            out[name] = out.get(name, QueueStatus()).plus(queue)
    return out


class WorkerStatus(msgspec.Struct):
    """`generation`: of the snapshot in use. `loop_lag` in seconds. `in_flight` and `queues` by backend.

    `queues` counts from the start of the first worker in its place. `in_flight_at`: by backend and endpoint, of endpoints
    that get no new requests, mirrored copies included.
    """

    worker: int
    pid: int
    up: bool
    generation: int
    connections: int
    loop_lag: float
    in_flight: dict[str, int]
    restarts: int = 0  # workers that died or hung in its place before
    queues: dict[str, QueueStatus] = {}
    in_flight_at: dict[str, dict[str, int]] = {}


def loop_lag(workers: Iterable[WorkerStatus]) -> float:
    """The largest, in seconds."""
    return max((worker.loop_lag for worker in workers if worker.up), default=0.0)


class Seam(Protocol):
    observations: LatestObservations
    comparisons: Comparisons
    drift: DriftChannel

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        """Send it to every worker. The future ends when all that live serve from it; nobody has to await it."""

    def take(self) -> Counts:
        """The counts of all workers since the last call."""

    def take_logged(self) -> Taken:
        """Rows for the prediction logs since the last call; each batch comes behind the exchanges that its outputs are of."""

    def workers(self) -> list[WorkerStatus]: ...

    def leaving_workers(self) -> list[WorkerStatus]:
        """Those that others have replaced, and that end when nothing is in flight there."""


def acknowledged() -> asyncio.Future[None]:
    """What `publish` returns where the snapshot is in use at once."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
