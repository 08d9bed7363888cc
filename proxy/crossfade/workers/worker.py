"""The worker process: it serves from the last snapshot until it is told to drain, with or without a control process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import uvloop

from crossfade import log_lines
from crossfade.coalescing import end_of
from crossfade.control.seam import QueueStatus, WorkerStatus
from crossfade.dataplane.listener import DataPlane
from crossfade.quality.samples import encode
from crossfade.routing.snapshot import Snapshot
from crossfade.shared_rates import SharedRates
from crossfade.stats.counts import Counts
from crossfade.workers import local_socket
from crossfade.workers.messages import (
    DOWNWARD,
    Closing,
    Drain,
    Hello,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    WorkerOptions,
    read_frame,
    write_frame,
)
from crossfade.workers.place_keeper import joined
from crossfade.workers.state_lock import is_held, socket_of
from crossfade.workers.tls import Credentials

log = logging.getLogger("crossfade.workers")

REPORT_EVERY = 0.25  # seconds, as the control process's tick: more often, the fuse would not act earlier
DRAIN = 30.0  # seconds for requests in flight, without a control process
RETRY_AFTER = 0.1  # seconds between two attempts to connect to the next holder of the state


def work(options: str) -> int:
    """`options` are WorkerOptions as JSON."""
    log_lines.log_to_stderr("worker")
    uvloop.run(run_worker(msgspec.json.decode(options, type=WorkerOptions)))
    return 0


async def run_worker(options: WorkerOptions) -> None:
    places = joined(options.places_fd, options.workers)
    rates = SharedRates(options.rates_fd) if options.rates_fd >= 0 else None
    plane = DataPlane(rates, None, places)
    worker = Worker(plane, options.lock_file, options.listening)
    loop = asyncio.get_running_loop()
    for sign in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # a terminal sends them to all processes; the control process decides
        loop.add_signal_handler(sign, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, worker.leave)
    await worker.run(socket.socket(fileno=options.seam_fd))


class Worker:
    """`writer`: the connection to a control process; None while there is none."""

    writer: asyncio.StreamWriter | None = None

    def __init__(self, plane: DataPlane, lock_file: str | None, listening: Sequence[Listening] = ()) -> None:
        self.plane = plane
        self.lock_file = lock_file
        self.listening = listening
        self.credentials: list[Credentials] = []
        self.is_leaving = False  # a signal told it to end
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
        if self.drain.done():
            self.plane.end_drain_within(drain.timeout)
        else:
            self.drain.set_result(drain)

    def leave(self) -> None:
        """By a signal: the control process starts another worker, and then tells this one to drain.

        It serves until then, however long that takes: the control process has copies of its sockets, so clients
        would go on to connect, and nobody would accept.
        """
        if self.writer is None or not self.plane.listening:
            self.begin_drain(Drain(DRAIN))
            return
        self.is_leaving = True
        self.write_report()

    async def follow(self, seam: socket.socket | None) -> None:
        """Follow the control process; after its end serve without one, until the next one connects."""
        if seam is not None:
            await self.obey(*await asyncio.open_unix_connection(sock=seam))
            if not self.plane.listening:  # it has never served, so nobody needs it
                self.begin_drain(Drain(0.0))
                return
        async for reader, writer in holders(self.lock_file, self.hello, self.descriptors):
            await self.obey(reader, writer)
        self.begin_drain(Drain(DRAIN))

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what the control process says, until it ends or does not need this worker any more."""
        self.writer = writer
        self.write_report()
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                data = await read_frame(reader)
                try:
                    message = DOWNWARD.decode(data)
                except msgspec.MsgspecError as error:  # of a control process of another version
                    log.error("a message of the control process cannot be read: %s", error)
                    continue
                if isinstance(message, Release):
                    await self.close_seam()
                    return
                await self.apply(message)
        self.writer = None  # nobody would read a last report, so its counts are kept for the next holder
        writer.close()
        if self.is_leaving:  # nobody will start another, and nobody else has its sockets
            self.begin_drain(Drain(DRAIN))

    async def apply(self, message: Publish | Closing | Drain | Renew) -> None:
        if isinstance(message, Drain):
            self.begin_drain(message)
        elif isinstance(message, Closing):
            self.plane.draining = True
        elif isinstance(message, Renew):
            self.renew()
        else:
            await self.use(message.snapshot)

    async def use(self, snapshot: Snapshot) -> None:
        log_lines.use(snapshot.log.format, snapshot.log.level)
        self.plane.use(snapshot)
        if not self.plane.listening and not self.drain.done():
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

    def sockets(self) -> list[socket.socket]:
        """That it listens on; none after a drain has begun."""
        return [sock for _, sock, _ in self.plane.listening if sock.fileno() >= 0]

    def hello(self) -> Hello:
        shares = self.plane.places.fd >= 0
        return Hello("detached", os.getpid(), self.plane.snapshot.generation, shares)

    def descriptors(self) -> list[int]:
        """For the next holder: of the sockets, and of the table of places."""
        places = self.plane.places.fd
        return [*(sock.fileno() for sock in self.sockets()), *([places] if places >= 0 else [])]

    async def report(self) -> None:
        while True:
            await end_of(REPORT_EVERY)
            self.write_report()
            if self.writer is not None:
                with contextlib.suppress(OSError):  # `follow` notices the end of the connection
                    await self.writer.drain()

    def write_report(self) -> None:
        """Takes nothing from the counts while no control process is connected."""
        if self.writer is None or self.writer.is_closing():
            return
        if not self.plane.listening:
            write_frame(self.writer, Report(0, Counts(), 0, 0.0, {}))
            return
        at = status_of(self.plane, 0)
        counts, samples = self.plane.take(), self.plane.recorder.samples.take()
        report = Report(
            at.generation,
            counts,
            at.connections,
            at.loop_lag,
            at.in_flight,
            encode(samples) if samples else b"",
            len(samples),
            self.is_leaving,
            at.queues,
            at.in_flight_at,
            self.plane.recorder.logged.take(),
        )
        write_frame(self.writer, report)

    async def close_seam(self) -> None:
        """With a last report."""
        self.write_report()
        writer, self.writer = self.writer, None
        if writer is not None:
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()


async def holders(
    lock_file: str | None, hello: Callable[[], Hello], descriptors: Callable[[], Sequence[int]]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to each holder of the state in turn, which has got copies of the descriptors.

    Ends when no holder will come: without a lock file, or when the file is empty, as its last holder ended in good
    order.
    """
    while lock_file is not None and is_held(lock_file):
        try:
            with local_socket.connect_to(socket_of(lock_file)) as sock:
                local_socket.send(sock, msgspec.json.encode(hello()), descriptors())
                streams = await asyncio.open_unix_connection(sock=sock.dup())
        except OSError:
            pass
        else:
            yield streams
        await asyncio.sleep(RETRY_AFTER)


def status_of(plane: DataPlane, worker: int) -> WorkerStatus:
    return WorkerStatus(
        worker,
        os.getpid(),
        True,
        plane.snapshot.generation,
        len(plane.clients),
        plane.loop_lag,
        plane.in_flight(),
        queues=queues_of(plane),
        in_flight_at=plane.in_flight_at(),
    )


def queues_of(plane: DataPlane) -> dict[str, QueueStatus]:
    """Of the backends at which a request has waited for a place in flight."""
    capacities = {name: backend.capacity for name, backend in plane.backends.items()}
    return {
        name: QueueStatus(len(c.queue), c.outcomes, c.waits)
        for name, c in capacities.items()
        if c.outcomes or c.queue
    }
