"""The seam where the data plane is in the control plane's own process (`workers: 0`, tests): a plain call.

Rule: only that mode imports this module. A control process that has workers never loads the data plane.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Sequence
from time import time

from crossfade.coalescing import until_next
from crossfade.control.comparisons import Comparisons
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.logged_batches import LoggedBatches, Taken
from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus, acknowledged
from crossfade.dataplane.listener import DataPlane
from crossfade.observer.messages import Observed
from crossfade.observer.observing import Observer
from crossfade.quality.samples import encode
from crossfade.quality.watching import Watched
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts, sum_of_waiting
from crossfade.workers.ending import wait_for
from crossfade.workers.observer_process import ObserverProcess, add_pairs, kept_of, logged_of, routes_of
from crossfade.workers.place_keeper import PlaceKeeper
from crossfade.workers.succession import Succession
from crossfade.workers.worker import Worker, status_of

CLEAR_EVERY = 0.5  # seconds


class DirectSeam:
    """It has the life of a `WorkerPool`: `started`, `ready`, then `stop` or `release`."""

    snapshot: Snapshot | None = None
    drain = 0.0  # of a pool: for workers that are replaced

    def __init__(
        self,
        plane: DataPlane,
        listening: Sequence[tuple[socket.socket, ssl.SSLContext | None]] = (),
        succession: Succession | None = None,
        keeper: PlaceKeeper | None = None,
        observer: ObserverProcess | None = None,
    ) -> None:
        """`succession`: whose workers end, and where the next holder of the state is found. `observer`: None: it reads
        answers itself, in `take`.
        """
        self.plane = plane
        self.listening = listening
        self.succession = succession
        self.keeper = keeper
        self.ended = asyncio.Event()
        self.observations = LatestObservations()
        self.comparisons = Comparisons()
        self.logged = LoggedBatches() if succession is None else succession.leaving.logged
        self.drift = DriftChannel()
        self.observer = observer or InlineObserver()

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.snapshot = snapshot
        self.plane.use(snapshot)
        self.observer.use(snapshot)
        if self.succession is not None:
            self.succession.leaving.publish(snapshot)
        return acknowledged()

    def take(self) -> Counts:
        samples = self.plane.recorder.samples.take()
        self.observer.read(encode(samples), len(samples))
        observed = self.observer.take()
        self.observations.add(observed.observations)
        add_pairs(self.comparisons, observed, time())
        self.logged.add(self.plane.recorder.logged.take())
        self.logged.add(observed.outputs)
        self.drift.seen.add(observed.seen)
        self.observer.use_drift(self.drift.wanted)
        self.plane.recorder.counts.add(observed.counts)
        counts = self.plane.take()
        if self.succession is not None:
            counts.waiting = sum_of_waiting(
                [counts.waiting, *(link.waiting for link in self.succession.leaving.links)]
            )
        return counts

    def take_logged(self) -> Taken:
        return self.logged.take()

    def workers(self) -> list[WorkerStatus]:
        return [status_of(self.plane, 0)]

    def leaving_workers(self) -> list[WorkerStatus]:
        return [link.status for link in self.succession.leaving.links] if self.succession else []

    async def run(self) -> None:
        """Returns at the end. There is nobody to supervise, but workers of the proxy before leave their places."""
        loop = asyncio.get_running_loop()
        observing = asyncio.ensure_future(self.observer.run())
        try:
            while not self.ended.is_set():
                await wait_for(self.ended, until_next(loop.time(), CLEAR_EVERY))
                if self.keeper is not None:
                    self.keeper.clear_ended()
            await observing
        finally:
            observing.cancel()

    async def started(self) -> None:
        """It is, as this process is."""

    async def ready(self) -> None:
        """Returns when it listens."""
        for sock, context in self.listening:
            await self.plane.listen(sock, context)

    def renew(self) -> None:
        """The credentials are the control process's own, which has read them again."""

    def close_after_answers(self) -> None:
        self.plane.draining = True

    async def stop(self, timeout: float) -> None:
        self.ended.set()
        self.observer.stop()
        await self.plane.drain(timeout)

    def hurry(self) -> None:
        self.plane.end_drain_within(0.0)

    async def release(self) -> None:
        """The plane serves on: see `serve_detached`."""
        self.ended.set()
        self.observer.stop()
        self.plane.recorder.flush()

    async def serve_detached(self) -> None:
        """This process is a worker from now on; returns when it is drained by the holder of the state."""
        worker = Worker(self.plane, self.succession.lock_file if self.succession else None)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.leave)
        await worker.run(None)


class InlineObserver:
    """It reads answers in the control process. For tests, which want what was read at once."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.observed = Observed()

    def use(self, snapshot: Snapshot) -> None:
        self.observer.use(routes_of(snapshot), kept_of(snapshot), logged_of(snapshot))
        self.observer.spans.use(snapshot.tracing)

    def use_drift(self, watched: dict[str, Watched]) -> None:
        self.observer.answers.drift.use(watched)

    def read(self, samples: bytes, n: int) -> None:
        if n:
            self.observed.add(self.observer.observe(samples, n))

    def take(self) -> Observed:
        taken, self.observed = self.observed, Observed()
        return taken

    async def run(self) -> None:
        """It is no process."""

    def stop(self) -> None:
        self.observer.close()
