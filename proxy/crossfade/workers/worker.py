"""The worker process: it serves from the last snapshot until it is told to drain, with or without a control process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import signal
import socket
from collections.abc import Sequence

import msgspec
import uvloop

from crossfade.control.seam import WorkerStatus
from crossfade.dataplane.listener import DataPlane
from crossfade.routing.rate import TABLE_BYTES, RateTable
from crossfade.workers.handover import successors
from crossfade.workers.messages import (
    DOWNWARD,
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
from crossfade.workers.tls import Credentials

log = logging.getLogger("crossfade.workers")

REPORT_EVERY = 0.1  # seconds
DRAIN = 30.0  # seconds for requests in flight, without a control process


def work(options: str) -> int:
    """`options` are WorkerOptions as JSON."""
    uvloop.run(run_worker(msgspec.json.decode(options, type=WorkerOptions)))
    return 0


async def run_worker(options: WorkerOptions) -> None:
    worker = Worker(DataPlane(shared_rates(options.rates_fd)), options.lock_file, options.listening)
    loop = asyncio.get_running_loop()
    # A terminal sends SIGINT to all processes; the control process decides.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, worker.begin_drain, Drain(DRAIN))
    await worker.run(socket.socket(fileno=options.seam_fd))


def shared_rates(fd: int) -> RateTable | None:
    return None if fd < 0 else RateTable(memoryview(mmap.mmap(fd, TABLE_BYTES)))


class Worker:
    """`writer`: the connection to a control process; None while there is none."""

    writer: asyncio.StreamWriter | None = None

    def __init__(self, plane: DataPlane, lock_file: str | None, listening: Sequence[Listening] = ()) -> None:
        self.plane = plane
        self.lock_file = lock_file
        self.listening = listening
        self.credentials: list[Credentials] = []
        self.drain: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()

    async def run(self, seam: socket.socket | None) -> None:
        """Returns when all is drained. `seam` None: the control process has ended already."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self.follow(seam))
            reporting = tasks.create_task(self.report())
            drain = await self.drain
            await self.plane.drain(drain.timeout, drain.inherited)
            reporting.cancel()
            following.cancel()
        await self.close_seam()

    def begin_drain(self, drain: Drain) -> None:
        if not self.drain.done():
            self.drain.set_result(drain)

    async def follow(self, seam: socket.socket | None) -> None:
        """Follow the control process; after its end serve without one, until a successor connects."""
        if seam is not None:
            reader, self.writer = await asyncio.open_unix_connection(sock=seam)
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while not isinstance(message := DOWNWARD.decode(await read_frame(reader)), Release):
                    if isinstance(message, Drain):
                        self.begin_drain(message)
                        return
                    if isinstance(message, Renew):
                        self.renew()
                    else:
                        await self.apply(message)
            await self.close_seam()
        async for reader, writer in successors(self.lock_file, self.sockets):
            self.writer = writer
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                message = DOWNWARD.decode(await read_frame(reader))
                assert isinstance(message, Drain)
                self.begin_drain(message)
                return
            await self.close_seam()  # the successor died before its workers served
        self.begin_drain(Drain(DRAIN))

    async def apply(self, message: Publish) -> None:
        self.plane.use(message.snapshot)
        if not self.plane.listening:
            for at in self.listening:
                credentials = Credentials(at.tls) if at.tls is not None else None
                if credentials is not None:
                    self.credentials.append(credentials)
                context = credentials.context if credentials is not None else None
                await self.plane.listen(socket.socket(fileno=at.fd), context)
        self.write_report()

    def renew(self) -> None:
        for credentials in self.credentials:
            try:
                credentials.renew()
            except OSError as error:
                log.error("TLS certificate not renewed, the old one stays: %s", error)

    @property
    def sockets(self) -> list[socket.socket]:
        return [sock for _, sock, _ in self.plane.listening]

    async def report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY)
            self.write_report()
            if self.writer is not None:
                with contextlib.suppress(OSError):  # `follow` notices the end of the connection
                    await self.writer.drain()

    def write_report(self) -> None:
        """Takes nothing from the counts while no control process is connected."""
        if self.writer is None or self.writer.is_closing() or not self.plane.listening:
            return
        at = status_of(self.plane, 0)
        counts, observations = self.plane.recorder.take(), self.plane.recorder.take_observations()
        report = Report(at.generation, counts, at.connections, at.loop_lag, at.in_flight, observations)
        write_frame(self.writer, report)

    async def close_seam(self) -> None:
        """With a last report."""
        self.write_report()
        writer, self.writer = self.writer, None
        if writer is not None:
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()


def status_of(plane: DataPlane, worker: int) -> WorkerStatus:
    return WorkerStatus(
        worker,
        os.getpid(),
        True,
        plane.snapshot.generation,
        len(plane.clients),
        plane.loop_lag,
        plane.in_flight(),
    )
