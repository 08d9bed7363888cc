"""From one control process to the next, without a connection refused.

Whoever holds the state keeps a door: a unix socket named after the state's lock file. Workers that
outlived their control process knock there and hand in copies of the sockets they listen on; they are
dismissed once the new workers serve, and whoever waits in the sockets' queues is served by those. A
new proxy that was told to take over knocks as well, and the one at work then leaves its workers to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from crossfade.stats.counts import Counts, CountsTable
from crossfade.workers.messages import ENCODER, UPWARD, Drain, read_frame, write_frame
from crossfade.workers.sockets import close

log = logging.getLogger("crossfade.workers")

LOOK_EVERY = 0.1  # seconds between two attempts to find a successor
PATIENCE = 10.0  # seconds for workers that live to hand in their sockets
MOST_SOCKETS = 250  # in one message (the kernel's SCM_MAX_FD is 253)
HELLO_BYTES = 1024
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)

COUNTS = msgspec.msgpack.Decoder(Counts)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hello(msgspec.Struct):
    what: Literal["detached", "successor"]
    pid: int


def handover_address(lock_file: str) -> str:
    """In the abstract namespace: nothing to clean up, no limit on the path. Raises OSError without a file."""
    at = os.stat(lock_file)
    return f"\0crossfade-{at.st_dev:x}-{at.st_ino:x}"


def is_ours(sock: socket.socket) -> bool:
    """Anyone on the machine may use an abstract name; only the same user's processes are trusted."""
    return credentials(sock)[1] == os.getuid()


def pid_of(peer: socket.socket) -> int:
    return int(credentials(peer)[0])


def credentials(peer: socket.socket) -> tuple[int, int, int]:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(raw)
    return pid, uid, gid


async def readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())


def receive(sock: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """One message and the sockets that came with it. Raises OSError."""
    data, fds, _, _ = socket.recv_fds(sock, HELLO_BYTES, MOST_SOCKETS, socket.MSG_CMSG_CLOEXEC)
    return data, [socket.socket(fileno=fd) for fd in fds]


def connect_to_holder(
    lock_file: str, what: Literal["detached", "successor"], sockets: Iterable[socket.socket] = ()
) -> socket.socket | None:
    """A connection to whoever holds the state, who has been told who we are; None if nobody is in."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(handover_address(lock_file))
        if is_ours(sock):
            hello = msgspec.json.encode(Hello(what, os.getpid()))
            socket.send_fds(sock, [hello], [s.fileno() for s in sockets])
            return sock
    except OSError:
        pass
    sock.close()
    return None


# ── who is left behind ────────────────────────────────────────────────────────────────────────────


async def outlive(lock_file: str | None, sockets: Iterable[socket.socket]) -> AsyncIterator[Streams]:
    """Each successor in turn, with copies of the sockets handed over to it; ends when none will come.

    None comes without a lock file, or once that is empty: the state's last holder ended in good order.
    """
    while lock_file is not None and is_held(lock_file):
        sock = connect_to_holder(lock_file, "detached", sockets)
        if sock is not None:
            yield await asyncio.open_unix_connection(sock=sock)
        await asyncio.sleep(LOOK_EVERY)


def is_held(lock_file: str) -> bool:
    with contextlib.suppress(OSError):
        return os.stat(lock_file).st_size > 0
    return False


# ── who comes next ────────────────────────────────────────────────────────────────────────────────


async def take_over(lock_file: str, inherited: list[socket.socket], counts: CountsTable) -> bool:
    """Ask the proxy at work to leave, and wait until it has released the state; False if there is none.

    Adds its admin sockets to `inherited`, and what its health loop has not seen any more to `counts`.
    """
    sock = connect_to_holder(lock_file, "successor")
    if sock is None:
        return False
    await readable(sock)
    data, sockets = receive(sock)
    inherited += sockets
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    data += await reader.read()
    writer.close()
    if data:
        counts.add(COUNTS.decode(data))
    return True


class DetachedWorker(msgspec.Struct):
    """A worker of another's that serves on until it is dismissed."""

    pid: int
    sockets: list[socket.socket]
    writer: asyncio.StreamWriter


class Handover:
    """Kept by the proxy that holds the state, for as long as it does. Call `gather`, `dismiss`, `close`."""

    def __init__(self, lock_file: str | None, counts: CountsTable, on_successor: Callable[[], None]) -> None:
        """What orphans count is added to `counts`; `on_heir` is called when another asks us to leave."""
        self.counts = counts
        self.on_successor = on_successor
        self.successor: socket.socket | None = None  # who waits for us to leave
        self.detached_workers: dict[int, DetachedWorker] = {}
        self.open = True  # are sockets still taken in?
        self.is_deserted = True  # do workers listen that did not hand in their sockets?
        self.tasks: set[asyncio.Task[None]] = set()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        if lock_file is not None:
            try:
                self.sock.bind(handover_address(lock_file))
                self.sock.listen()
                self.spawn(self.receive())
            except OSError as error:
                log.warning("no other proxy will be able to take over from this one: %s", error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def receive(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
            self.spawn(self.greet(sock))

    async def greet(self, sock: socket.socket) -> None:
        try:
            if is_ours(sock):
                async with asyncio.timeout(PATIENCE):
                    await readable(sock)
                data, sockets = receive(sock)
                hello = msgspec.json.decode(data, type=Hello)
                if hello.what == "detached":
                    await self.take_in(hello.pid, sockets, sock)
                elif self.successor is None:
                    self.successor, sock = sock, socket.socket()
                    self.on_successor()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("succession: %s", error)
        finally:
            sock.close()

    async def take_in(self, pid: int, sockets: list[socket.socket], sock: socket.socket) -> None:
        """Keep the orphan's sockets for our own workers, and its counts with theirs."""
        reader, writer = await asyncio.open_unix_connection(sock=sock.dup())
        if self.open:
            self.detached_workers[pid] = DetachedWorker(pid, sockets, writer)
        else:  # it comes too late for anyone to serve from its sockets
            close(sockets)
            write_frame(writer, Drain(PATIENCE))
        try:
            while True:
                report = UPWARD.decode(await read_frame(reader))
                self.counts.add(report.counts)
                self.counts.drop("observations", len(report.observations))
        except (asyncio.IncompleteReadError, OSError):
            self.detached_workers.pop(pid, None)
        finally:
            writer.close()

    async def gather(self, workers: Iterable[int]) -> list[socket.socket]:
        """The listening sockets of those of these processes that still live."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while missing := [pid for pid in workers if pid not in self.detached_workers and lives(pid)]:
            if loop.time() >= end:
                log.warning("processes %s, workers of the proxy before, do not answer", missing)
                break
            await asyncio.sleep(0.02)
        else:
            self.is_deserted = False
        self.open = False
        return [sock for detached in self.detached_workers.values() for sock in detached.sockets]

    def release(self, timeout: float) -> None:
        """Our workers serve: let the orphans finish what they have."""
        for detached in self.detached_workers.values():
            write_frame(detached.writer, Drain(timeout, inherited=True))
        self.detached_workers.clear()

    def hand_over(self, admin: Iterable[socket.socket], counts: Counts) -> None:
        """The state is released: the heir may go on."""
        assert self.successor is not None
        data = ENCODER.encode(counts)
        with contextlib.suppress(OSError), self.successor as successor:
            successor.settimeout(PATIENCE)
            successor.sendall(data[socket.send_fds(successor, [data], [s.fileno() for s in admin]) :])

    def close(self) -> None:
        """Nobody is taken in any more: our own workers, if we leave them, are to find the heir."""
        for task in self.tasks:
            task.cancel()
        self.sock.close()


def lives(pid: int) -> bool:
    """Not a zombie either: nobody may be there to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
