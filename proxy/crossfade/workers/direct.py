"""The seam where the data plane is in the control plane's own process (`workers: 0`, tests): a plain call.

Rule: only that mode imports this module. A control process that has workers never loads the data plane.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Sequence

from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus, acknowledged
from crossfade.dataplane.listener import DataPlane
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts, sum_of_waiting
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
    ) -> None:
        """`succession`: whose workers end, and where the next holder of the state is found."""
        self.plane = plane
        self.listening = listening
        self.succession = succession
        self.keeper = keeper
        self.ended = asyncio.Event()
        self.observations = LatestObservations()

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.snapshot = snapshot
        self.plane.use(snapshot)
        if self.succession is not None:
            self.succession.leaving.publish(snapshot)
        return acknowledged()

    def take(self) -> Counts:
        self.observations.add(self.plane.recorder.take_observations())
        counts = self.plane.take()
        if self.succession is not None:
            counts.waiting = sum_of_waiting(
                [counts.waiting, *(link.waiting for link in self.succession.leaving.links)]
            )
        return counts

    def workers(self) -> list[WorkerStatus]:
        return [status_of(self.plane, 0)]

    def leaving_workers(self) -> list[WorkerStatus]:
        return [link.status for link in self.succession.leaving.links] if self.succession else []

    async def run(self) -> None:
        """Returns at the end. There is nobody to supervise, but workers of the proxy before leave their places."""
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLEAR_EVERY):
                    await self.ended.wait()
            if self.keeper is not None:
                self.keeper.clear_ended()

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
        await self.plane.drain(timeout)

    def hurry(self) -> None:
        self.plane.end_drain_within(0.0)

    async def release(self) -> None:
        """The plane serves on: see `serve_detached`."""
        self.ended.set()
        self.plane.recorder.flush()

    async def serve_detached(self) -> None:
        """This process is a worker from now on; returns when it is drained by the holder of the state."""
        worker = Worker(self.plane, self.succession.lock_file if self.succession else None)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.leave)
        await worker.run(None)
