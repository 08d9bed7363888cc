"""The control process's connection to one worker, whoever started that worker.

`silent` is the time without a report as the control process has lived it: what it was late itself is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable

import msgspec

from crossfade.control.background import Background
from crossfade.control.logged_batches import LoggedBatches
from crossfade.control.seam import WorkerStatus, sum_of_queues
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import CountsTable, Waiting
from crossfade.workers.messages import UPWARD, Drain, Publish, Report, read_frame, write_frame

log = logging.getLogger("crossfade.workers")


class WorkerLink:
    """`process`: of a worker that this control process started; None if another one did."""

    def __init__(
        self,
        status: WorkerStatus,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        process: asyncio.subprocess.Process | None = None,
    ) -> None:
        self.status = status
        self.reader, self.writer = streams
        self.process = process
        self.queues_before = status.queues  # of the workers in its place before
        self.silent = 0.0  # seconds
        self.heard = False  # it has reported at least once
        self.leaving = False  # it was told by a signal to end
        self.draining = False  # we told it to drain
        self.ended = False
        self.waiting: Waiting = {}  # of its latest report
        self.changed = asyncio.Event()

    async def read(self, take: Callable[[WorkerLink, Report], None]) -> None:
        """Returns when the connection has ended."""
        try:
            while True:
                report = UPWARD.decode(await read_frame(self.reader))
                self.note(report)
                take(self, report)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except msgspec.MsgspecError as error:
            log.error("worker %d (pid %d) sends what cannot be read: %s", *self.name, error)
            self.kill()
        finally:
            self.ended = True
            self.waiting = {}
            self.status.up = False
            self.changed.set()
            self.writer.close()

    @property
    def name(self) -> tuple[int, int]:
        return self.status.worker, self.status.pid

    def note(self, report: Report) -> None:
        self.silent, self.heard = 0.0, True
        self.leaving = self.leaving or report.leaving
        self.waiting = report.counts.waiting
        self.status = msgspec.structs.replace(
            self.status,
            up=report.generation > 0,
            generation=report.generation,
            connections=report.connections,
            loop_lag=report.loop_lag,
            in_flight=report.in_flight,
            queues=sum_of_queues((self.queues_before, report.queues)),
            in_flight_at=report.in_flight_at,
        )
        self.changed.set()

    def tell(self, message: msgspec.Struct) -> None:
        write_frame(self.writer, message)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds, which only a report changes, or the worker has ended."""
        while not condition() and not self.ended:
            self.changed.clear()
            await self.changed.wait()

    async def serves(self, generation: int) -> None:
        """Returns when the worker serves from this generation, or a later one, or has ended."""
        await self.until(lambda: self.status.generation >= generation)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process is not None:
                if self.process.returncode is None:
                    self.process.kill()
            else:  # the pid is still of this worker: its connection is open
                os.kill(self.status.pid, signal.SIGKILL)


class LeavingWorkers:
    """Workers that end when others serve from their sockets: those of the proxy before, and ours after a SIGTERM.

    They get each snapshot until they end, so that none serves what has been taken back.
    """

    def __init__(self, counts: CountsTable) -> None:
        self.counts = counts
        self.logged = LoggedBatches()  # of all workers
        self.links: set[WorkerLink] = set()
        self.background = Background()

    def follow(self, link: WorkerLink, take: Callable[[WorkerLink, Report], None] | None = None) -> None:
        """Read its reports until it ends. `take`: in the place of adding its counts to ours."""
        self.links.add(link)
        self.background.spawn(self._follow(link, take or self._add))

    async def _follow(self, link: WorkerLink, take: Callable[[WorkerLink, Report], None]) -> None:
        try:
            await link.read(take)
            if link.process is not None:
                await link.process.wait()
        finally:
            self.links.discard(link)

    def _add(self, link: WorkerLink, report: Report) -> None:
        self.counts.add(report.counts)
        self.counts.drop("observations", report.sampled)
        self.logged.add(report.logged)

    def publish(self, snapshot: Snapshot) -> list[WorkerLink]:
        """The workers that it was sent to."""
        for link in self.links:
            link.tell(Publish(snapshot))
        return list(self.links)

    def drain(self, timeout: float, links: Iterable[WorkerLink]) -> None:
        """Others accept from their sockets."""
        for link in links:
            if not link.draining:
                link.draining = True
                link.tell(Drain(timeout, inherited=True))

    def close(self) -> None:
        """Hang up: those that were not told to drain serve on, and look for the next holder of the state."""
        for link in self.links:
            link.writer.close()
        self.background.cancel()
