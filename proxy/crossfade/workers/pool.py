"""Starts and replaces the workers, in the control process. It is the controller's seam.

A worker that dies or hangs is replaced. Its counts since its last report, 0.1 s before, are lost, and
nothing else; restarts are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from crossfade.control.background import Background
from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus
from crossfade.routing.rate import TABLE_BYTES
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts, CountsTable
from crossfade.workers.messages import (
    UPWARD,
    Drain,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    WorkerOptions,
    read_frame,
    write_frame,
)

log = logging.getLogger("crossfade.workers")

SILENCE = 10.0  # seconds without a report, or without taking a snapshot: the worker hangs and is replaced
RESPAWN_AFTER = 0.2  # seconds between the end of a worker and the start of the next


def _worker_environment() -> dict[str, str]:
    """Python finds the package that runs here, whatever is in the working directory."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


class WorkerLink:
    """The connection to one worker process."""

    def __init__(
        self, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter, status: WorkerStatus
    ) -> None:
        self.process = process
        self.writer = writer
        self.status = status
        self.acknowledged = asyncio.Event()
        self.reported = asyncio.Event()

    def take_report(self, report: Report) -> None:
        self.status = msgspec.structs.replace(
            self.status,
            up=True,
            generation=report.generation,
            connections=report.connections,
            loop_lag=report.loop_lag,
            in_flight=report.in_flight,
        )
        self.acknowledged.set()
        self.reported.set()

    async def serves(self, generation: int) -> None:
        """Returns when the worker serves from this generation, or a later one, or has ended."""
        while self.status.generation < generation and self.process.returncode is None:
            self.acknowledged.clear()
            await self.acknowledged.wait()

    def kill(self) -> None:
        """Its supervisor starts another."""
        log.error(
            "worker %d (pid %d) hangs: no answer for %g s; replacing it",
            self.status.worker,
            self.process.pid,
            SILENCE,
        )
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class WorkerPool:
    """Call `run`, then `stop` or `release`."""

    def __init__(
        self,
        listening: Sequence[Sequence[tuple[socket.socket, Listening]]],
        options: WorkerOptions,
        table: CountsTable,
        on_start: Callable[[list[int]], None],
    ) -> None:
        """`listening[i]`: the sockets of worker i. `on_start` gets all pids when a worker has started."""
        self.listening = listening
        self.rates_fd = os.memfd_create("crossfade-rates")
        os.ftruncate(self.rates_fd, TABLE_BYTES)
        self.options = msgspec.structs.replace(options, rates_fd=self.rates_fd)
        self.table = table
        self.observations = LatestObservations()
        self.on_start = on_start
        self.links: dict[int, WorkerLink] = {}
        self.restarts = [0] * len(listening)
        self.snapshot: Snapshot | None = None
        self.stopping = False
        self.background = Background()

    async def run(self) -> None:
        """Supervise each worker until `stop` or `release`. Cancelling it kills the workers."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self.listening)):
                tasks.create_task(self.supervise(number))

    async def supervise(self, number: int) -> None:
        while not self.stopping:
            link, reader = await self.start(number)
            self.links[number] = link
            self.on_start([each.process.pid for each in self.links.values()])
            watching = asyncio.create_task(self.supervise_link(link))  # noqa: TID251 - it catches its own errors
            try:
                await self.read_reports(link, reader)
                code = 0 if self.is_stopping() else await link.process.wait()
            except asyncio.CancelledError:
                link.process.kill()
                raise
            finally:
                watching.cancel()
                link.status.up = False
                link.acknowledged.set()
                link.writer.close()
            if not self.stopping:
                self.restarts[number] += 1
                log.error(
                    "worker %d (pid %d) ended with exit code %d; starting another. "
                    "Its counts since its last report are lost", number, link.process.pid, code,
                )  # fmt: skip
                await asyncio.sleep(RESPAWN_AFTER)

    async def start(self, number: int) -> tuple[WorkerLink, asyncio.StreamReader]:
        ours, theirs = socket.socketpair()
        listening = [msgspec.structs.replace(at, fd=sock.fileno()) for sock, at in self.listening[number]]
        options = msgspec.structs.replace(self.options, seam_fd=theirs.fileno(), listening=listening)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "crossfade", "worker", msgspec.json.encode(options).decode(),
            stdin=asyncio.subprocess.DEVNULL, env=_worker_environment(),
            pass_fds=[theirs.fileno(), *(at.fd for at in listening), self.rates_fd],
        )  # fmt: skip
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        status = WorkerStatus(number, process.pid, False, 0, 0, 0.0, {}, self.restarts[number])
        link = WorkerLink(process, writer, status)
        if self.snapshot is not None:
            write_frame(writer, Publish(self.snapshot))
        return link, reader

    async def read_reports(self, link: WorkerLink, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                report = UPWARD.decode(await read_frame(reader))
                self.table.add(report.counts)
                self.observations.add(report.observations)
                link.take_report(report)

    async def supervise_link(self, link: WorkerLink) -> None:
        """Replace a worker that does not report for `SILENCE` seconds."""
        await link.reported.wait()
        while not self.stopping:
            link.reported.clear()
            try:
                async with asyncio.timeout(SILENCE):
                    await link.reported.wait()
            except TimeoutError:
                if not self.stopping:
                    link.kill()
                return

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.snapshot = snapshot
        links = list(self.links.values())
        for link in links:
            write_frame(link.writer, Publish(snapshot))
        return self.background.task(self.acknowledged(links, snapshot.generation))

    async def acknowledged(self, links: Sequence[WorkerLink], generation: int) -> None:
        await asyncio.gather(*(self.acknowledge(link, generation) for link in links))

    async def acknowledge(self, link: WorkerLink, generation: int) -> None:
        try:
            async with asyncio.timeout(SILENCE):
                await link.serves(generation)
        except TimeoutError:
            link.kill()

    def renew(self) -> None:
        """Make all workers read their certificates again."""
        for link in self.links.values():
            write_frame(link.writer, Renew())

    def take(self) -> Counts:
        return self.table.take()

    def workers(self) -> list[WorkerStatus]:
        return [link.status for _, link in sorted(self.links.items())]

    async def ready(self) -> None:
        """Returns when every worker has started and serves from the published snapshot."""
        while len(self.links) < len(self.listening) or not all(s.up for s in self.workers()):
            await asyncio.sleep(0.02)

    async def stop(self, timeout: float) -> None:
        """Let workers finish the requests in flight, for at most `timeout` seconds; then kill them."""
        self.stopping = True
        for link in self.links.values():
            write_frame(link.writer, Drain(timeout))
        try:
            async with asyncio.timeout(timeout + 2):
                await asyncio.gather(*(link.process.wait() for link in self.links.values()))
        except TimeoutError:
            for link in self.links.values():
                if link.process.returncode is None:
                    link.process.kill()

    def is_stopping(self) -> bool:
        return self.stopping

    async def release(self) -> None:
        """Leave the workers to a successor. Returns when their last reports have arrived."""
        self.stopping = True
        for link in self.links.values():
            write_frame(link.writer, Release())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                while any(link.status.up for link in self.links.values()):
                    await asyncio.sleep(0.01)
