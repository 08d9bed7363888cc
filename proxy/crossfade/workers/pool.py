"""The keeper of the workers, in the control process; it is the seam as the controller sees it.

A worker that dies or hangs is replaced. What it had counted since its last report, a tenth of a
second or so before, is lost with it, and only that; that it was lost is counted.
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

SILENCE = (
    10.0  # a worker that has said nothing, or not taken a snapshot, for so long is stuck: it is replaced
)
RESPAWN_AFTER = 0.2  # seconds between a worker's death and its successor's start


def this_package() -> dict[str, str]:
    """An environment in which Python finds the package that runs here, whatever lies in the working directory."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


class WorkerLink:
    """One worker process as the control plane knows it."""

    def __init__(
        self, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter, status: WorkerStatus
    ) -> None:
        self.process = process
        self.writer = writer
        self.status = status
        self.acknowledged = asyncio.Event()
        self.heard = asyncio.Event()

    def hear(self, report: Report) -> None:
        self.status = msgspec.structs.replace(
            self.status,
            up=True,
            generation=report.generation,
            connections=report.connections,
            loop_lag=report.loop_lag,
            in_flight=report.in_flight,
        )
        self.acknowledged.set()
        self.heard.set()

    async def serves(self, generation: int) -> None:
        """Returns when the worker serves from this generation, or a later one, or has ended."""
        while self.status.generation < generation and self.process.returncode is None:
            self.acknowledged.clear()
            await self.acknowledged.wait()

    def replace(self) -> None:
        log.error("worker %d (pid %d) does not answer; replacing it", self.status.worker, self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class WorkerPool:
    """The workers, kept alive."""

    def __init__(
        self,
        listening: Sequence[Sequence[tuple[socket.socket, Listening]]],
        options: WorkerOptions,
        table: CountsTable,
        on_start: Callable[[list[int]], None],
    ) -> None:
        """`listening[i]` is where worker i listens; `on_start` is told all pids when a worker has started."""
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

    async def run(self) -> None:
        """Keep each worker alive until `stop` or `release`; cancel to give up at once."""
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
                await self.listen_to(link, reader)
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
                    "worker %d (pid %d) ended with %d; starting another. "
                    "What it had counted since its last report is lost", number, link.process.pid, code,
                )  # fmt: skip
                await asyncio.sleep(RESPAWN_AFTER)

    async def start(self, number: int) -> tuple[WorkerLink, asyncio.StreamReader]:
        ours, theirs = socket.socketpair()
        listening = [msgspec.structs.replace(at, fd=sock.fileno()) for sock, at in self.listening[number]]
        options = msgspec.structs.replace(self.options, seam_fd=theirs.fileno(), listening=listening)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "crossfade", "worker", msgspec.json.encode(options).decode(),
            stdin=asyncio.subprocess.DEVNULL, env=this_package(),
            pass_fds=[theirs.fileno(), *(at.fd for at in listening), self.rates_fd],
        )  # fmt: skip
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        status = WorkerStatus(number, process.pid, False, 0, 0, 0.0, {}, self.restarts[number])
        link = WorkerLink(process, writer, status)
        if self.snapshot is not None:
            write_frame(writer, Publish(self.snapshot))
        return link, reader

    async def listen_to(self, link: WorkerLink, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                report = UPWARD.decode(await read_frame(reader))
                self.table.add(report.counts)
                self.observations.add(report.observations)
                link.hear(report)

    async def supervise_link(self, link: WorkerLink) -> None:
        """Workers that serve report many times a second; one that is silent hangs."""
        await link.heard.wait()
        while not self.stopping:
            link.heard.clear()
            try:
                async with asyncio.timeout(SILENCE):
                    await link.heard.wait()
            except TimeoutError:
                if not self.stopping:
                    link.replace()
                return

    async def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        links = list(self.links.values())
        for link in links:
            write_frame(link.writer, Publish(snapshot))
        await asyncio.gather(*(self.acknowledge(link, snapshot.generation) for link in links))

    async def acknowledge(self, link: WorkerLink, generation: int) -> None:
        try:
            async with asyncio.timeout(SILENCE):
                await link.serves(generation)
        except TimeoutError:
            link.replace()

    def renew(self) -> None:
        """Have all workers read their certificates again."""
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
        """Let workers finish what they have, for at most `timeout` seconds; what is left then is killed."""
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
        """Leave the workers to a successor; returns when their last reports are in."""
        self.stopping = True
        for link in self.links.values():
            write_frame(link.writer, Release())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                while any(link.status.up for link in self.links.values()):
                    await asyncio.sleep(0.01)
