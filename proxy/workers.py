"""Worker processes, and the seam between the planes.

The control process binds one socket for each worker and port (SO_REUSEPORT spreads connections), so
a worker that dies leaves its queue to its successor. Snapshots go down and counts come up a socket
pair as length-prefixed msgpack. Workers stay right without the control plane: when it dies they
serve on from the last snapshot, until another one has taken over its state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import signal
import socket
import ssl
import struct
import sys
from pathlib import Path

import msgspec
import uvloop

from proxy.control.seam import WorkerStatus
from proxy.dataplane.listener import DataPlane
from proxy.routing.rate import TABLE_BYTES, RateTable
from proxy.routing.snapshot import Snapshot
from proxy.stats.counts import Counts, CountsTable

log = logging.getLogger("crossfade.workers")

REPORT_EVERY = 0.1  # seconds
ACK_TIMEOUT = 10.0  # a worker that has not taken a snapshot by then is stuck, and is replaced
RESPAWN_AFTER = 0.2  # seconds between a worker's death and its successor's start
DRAIN = 30.0  # seconds for requests in flight, where no control plane says otherwise
TAKEOVER_AFTER = 1.0  # seconds an orphan serves on beside its successors
FRAME = struct.Struct(">I")


class Publish(msgspec.Struct, tag=True):
    snapshot: Snapshot


class Drain(msgspec.Struct, tag=True):
    timeout: float


class Report(msgspec.Struct, tag=True):
    """What a worker says of itself; `counts` since its last report."""

    generation: int
    counts: Counts
    connections: int
    loop_lag: float
    in_flight: dict[str, int]


class WorkerOptions(msgspec.Struct):
    """All that a worker is told before the first snapshot; `listen_fds` are bound, not yet listening."""

    seam_fd: int
    listen_fds: list[int]
    control_pid: int
    rates_fd: int = -1  # memory that all workers share: the rate limits' table
    lock_file: str | None = None
    certificate: str | None = None
    key: str | None = None


ENCODER = msgspec.msgpack.Encoder()
DOWNWARD: msgspec.msgpack.Decoder[Publish | Drain] = msgspec.msgpack.Decoder(Publish | Drain)
UPWARD: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_frame(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Nothing is written to a side that is gone: uvloop raises RuntimeError then, which is no OSError."""
    if writer.is_closing():
        return
    data = ENCODER.encode(message)
    writer.write(FRAME.pack(len(data)) + data)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Raises IncompleteReadError when the other side is gone."""
    (length,) = FRAME.unpack(await reader.readexactly(FRAME.size))
    return await reader.readexactly(length)


# ── the worker's side ─────────────────────────────────────────────────────────────────────────────


def work(options: str) -> int:
    """The life of a worker process; `options` are WorkerOptions as JSON."""
    uvloop.run(run_worker(msgspec.json.decode(options, type=WorkerOptions)))
    return 0


async def run_worker(options: WorkerOptions) -> None:
    """Serve until told to drain, or orphaned and replaced."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=options.seam_fd))
    plane = DataPlane(shared_rates(options.rates_fd))
    drain_timeout: asyncio.Future[float] = loop.create_future()
    loop.add_signal_handler(
        signal.SIGINT, lambda: None
    )  # the terminal's; the control process says what to do
    loop.add_signal_handler(signal.SIGTERM, order_drain, drain_timeout, DRAIN)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(plane, options, reader, writer, drain_timeout))
        reporting = tasks.create_task(report(plane, writer))
        await plane.drain(await drain_timeout)
        reporting.cancel()
        following.cancel()
    with contextlib.suppress(OSError):
        write_report(plane, writer)
        await writer.drain()
    writer.close()


def shared_rates(fd: int) -> RateTable | None:
    return None if fd < 0 else RateTable(memoryview(mmap.mmap(fd, TABLE_BYTES)))


async def follow(
    plane: DataPlane,
    options: WorkerOptions,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    drain_timeout: asyncio.Future[float],
) -> None:
    """Do what the control plane says, and decide what its silence means."""
    try:
        while not drain_timeout.done():
            message = DOWNWARD.decode(await read_frame(reader))
            if isinstance(message, Drain):
                order_drain(drain_timeout, message.timeout)
                return
            plane.use(message.snapshot)
            if not plane.listening:
                tls = load_tls(options.certificate, options.key)
                for fd in options.listen_fds:
                    await plane.listen(socket.socket(fileno=fd), tls)
            write_report(plane, writer)
    except (asyncio.IncompleteReadError, OSError):
        await outlive(options)
        order_drain(drain_timeout, DRAIN)


def order_drain(drain_timeout: asyncio.Future[float], seconds: float) -> None:
    if not drain_timeout.done():
        drain_timeout.set_result(seconds)


async def outlive(options: WorkerOptions) -> None:
    """Orphaned: serve on until the state has another holder, then let its workers come up."""
    if options.lock_file is None:
        return
    while holder_of(options.lock_file) == options.control_pid:
        await asyncio.sleep(0.2)
    await asyncio.sleep(TAKEOVER_AFTER)


def holder_of(lock_file: str) -> int:
    """The process that the state's lock file names; 0 when it names none."""
    try:
        return int(Path(lock_file).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


async def report(plane: DataPlane, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the control plane is gone; `follow` decides what that means
        while True:
            await asyncio.sleep(REPORT_EVERY)
            write_report(plane, writer)
            await writer.drain()


def write_report(plane: DataPlane, writer: asyncio.StreamWriter) -> None:
    if not plane.listening:  # a report says that the worker serves
        return
    status = status_of(plane, 0)
    write_frame(
        writer,
        Report(
            status.generation, plane.recorder.take(), status.connections, status.loop_lag, status.in_flight
        ),
    )


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


def load_tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


# ── the control plane's side ──────────────────────────────────────────────────────────────────────


class WorkerLink:
    """One worker process as the control plane knows it."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.process = process
        self.writer = writer
        self.status = WorkerStatus(number, process.pid, False, 0, 0, 0.0, {})
        self.acknowledged = asyncio.Event()

    def hear(self, report: Report) -> None:
        self.status = WorkerStatus(
            self.number,
            self.process.pid,
            True,
            report.generation,
            report.connections,
            report.loop_lag,
            report.in_flight,
        )
        self.acknowledged.set()

    async def serves(self, generation: int) -> None:
        """Returns when the worker serves from this generation, or a later one, or has ended."""
        while self.status.generation < generation and self.process.returncode is None:
            self.acknowledged.clear()
            await self.acknowledged.wait()


class WorkerPool:
    """The workers, kept alive. It is the seam as the controller sees it."""

    def __init__(self, sockets: list[list[socket.socket]], options: WorkerOptions) -> None:
        """`sockets[i]` are the bound sockets of worker i."""
        self.sockets = sockets
        self.rates_fd = os.memfd_create("crossfade-rates")
        os.ftruncate(self.rates_fd, TABLE_BYTES)
        self.options = msgspec.structs.replace(options, rates_fd=self.rates_fd)
        self.links: dict[int, WorkerLink] = {}
        self.table = CountsTable()
        self.snapshot: Snapshot | None = None
        self.stopping = False

    async def run(self) -> None:
        """Keep each worker alive until `stop`; cancel to give up at once."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self.sockets)):
                tasks.create_task(self.keep_alive(number))

    async def keep_alive(self, number: int) -> None:
        while not self.stopping:
            link, reader = await self.start(number)
            self.links[number] = link
            try:
                await self.listen_to(link, reader)
                code = await link.process.wait()
            except asyncio.CancelledError:
                link.process.kill()
                raise
            finally:
                link.status.up = False
                link.acknowledged.set()
                link.writer.close()
            if not self.stopping:
                log.error(
                    "worker %d (pid %d) ended with %d; starting another", number, link.process.pid, code
                )
                await asyncio.sleep(RESPAWN_AFTER)

    async def start(self, number: int) -> tuple[WorkerLink, asyncio.StreamReader]:
        ours, theirs = socket.socketpair()
        fds = [s.fileno() for s in self.sockets[number]]
        options = msgspec.structs.replace(self.options, seam_fd=theirs.fileno(), listen_fds=fds)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", "worker", msgspec.json.encode(options).decode(),
            stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno(), *fds, self.rates_fd],
        )  # fmt: skip
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        link = WorkerLink(number, process, writer)
        if self.snapshot is not None:
            write_frame(writer, Publish(self.snapshot))
        return link, reader

    async def listen_to(self, link: WorkerLink, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                report = UPWARD.decode(await read_frame(reader))
                self.table.add(report.counts)
                link.hear(report)

    async def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        links = list(self.links.values())
        for link in links:
            write_frame(link.writer, Publish(snapshot))
        await asyncio.gather(*(self.acknowledge(link, snapshot.generation) for link in links))

    async def acknowledge(self, link: WorkerLink, generation: int) -> None:
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                await link.serves(generation)
        except TimeoutError:
            log.error("worker %d (pid %d) does not answer; replacing it", link.number, link.process.pid)
            link.process.kill()

    def take(self) -> Counts:
        return self.table.take()

    def workers(self) -> list[WorkerStatus]:
        return [link.status for _, link in sorted(self.links.items())]

    async def ready(self) -> None:
        """Returns when every worker has started and serves from the published snapshot."""
        while len(self.links) < len(self.sockets) or not all(s.up for s in self.workers()):
            await asyncio.sleep(0.02)

    async def stop(self, timeout: float) -> None:
        """Let workers finish what they have, for at most `timeout` seconds; what is left then is killed."""
        self.stopping = True
        for link in self.links.values():
            with contextlib.suppress(OSError):
                write_frame(link.writer, Drain(timeout))
        try:
            async with asyncio.timeout(timeout + 2):
                await asyncio.gather(*(link.process.wait() for link in self.links.values()))
        except TimeoutError:
            for link in self.links.values():
                if link.process.returncode is None:
                    link.process.kill()


class DirectSeam:
    """The data plane in the control plane's own process (`workers: 0`, tests): a plain call."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane

    async def publish(self, snapshot: Snapshot) -> None:
        self.plane.use(snapshot)

    def take(self) -> Counts:
        return self.plane.recorder.take()

    def workers(self) -> list[WorkerStatus]:
        return [status_of(self.plane, 0)]


def bind(host: str, port: int, copies: int, beside_orphans: bool) -> list[socket.socket]:
    """One bound socket for each worker. Raises OSError when the port is taken.

    SO_REUSEPORT would quietly share a port with another proxy of the same user, so the port is first
    tried without it, unless workers of a proxy that died are known to serve there still.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if port and not beside_orphans:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    sockets: list[socket.socket] = []
    for _ in range(copies):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind(sockets[0].getsockname() if sockets else address)
        sockets.append(sock)
    return sockets
