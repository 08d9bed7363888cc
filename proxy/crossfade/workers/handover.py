"""The hand-over from one control process to the next; no connection is refused.

The lock holder listens on a unix socket named after the lock file. A detached worker, whose control
process has ended, connects and hands over its listening sockets (SCM_RIGHTS). It is drained when the
workers of the holder serve; they accept what waits in the queues of the sockets. A proxy started with
`--takeover` connects too; the holder then ends and leaves its workers to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

from crossfade.control.background import Background
from crossfade.stats.counts import Counts, CountsTable
from crossfade.workers.messages import ENCODER, UPWARD, Drain, read_frame, write_frame
from crossfade.workers.sockets import close
from crossfade.workers.state_lock import StateLock

log = logging.getLogger("crossfade.workers")

RETRY_AFTER = 0.1  # seconds between two attempts to connect to a successor
TIMEOUT = 10.0  # seconds for a process to hand over its sockets, or to take them
MAX_SOCKETS = 250  # in one message (the kernel's SCM_MAX_FD is 253)
HELLO_BYTES = 1024
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)

COUNTS = msgspec.msgpack.Decoder(Counts)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hello(msgspec.Struct):
    """The first message of a process that connects, as JSON."""

    what: Literal["detached", "successor"]
    pid: int


def handover_address(lock_file: str) -> str:
    """In the abstract namespace: no file to remove, no limit on the path. Raises OSError without a lock file."""
    at = os.stat(lock_file)
    return f"\0crossfade-{at.st_dev:x}-{at.st_ino:x}"


def _is_same_user(sock: socket.socket) -> bool:
    """Any user can bind or connect to an abstract name; only processes of the same user are trusted."""
    return _credentials(sock)[1] == os.getuid()


def pid_of(peer: socket.socket) -> int:
    return int(_credentials(peer)[0])


def _credentials(peer: socket.socket) -> tuple[int, int, int]:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(raw)
    return pid, uid, gid


async def _wait_readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())


def _receive(sock: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """One message, and the sockets in it. Raises OSError."""
    data, fds, _, _ = socket.recv_fds(sock, HELLO_BYTES, MAX_SOCKETS)
    sockets = [socket.socket(fileno=fd) for fd in fds]
    for received in sockets:
        received.set_inheritable(False)  # recv_fds ignores MSG_CMSG_CLOEXEC (python/cpython#107898)
    return data, sockets


def connect_to_holder(
    lock_file: str, what: Literal["detached", "successor"], sockets: Iterable[socket.socket] = ()
) -> socket.socket | None:
    """A connection to the lock holder, with the hello sent; None if there is no holder."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(handover_address(lock_file))
        if _is_same_user(sock):
            hello = msgspec.json.encode(Hello(what, os.getpid()))
            socket.send_fds(sock, [hello], [s.fileno() for s in sockets])
            return sock
    except OSError:
        pass
    sock.close()
    return None


# ── in a detached worker ──────────────────────────────────────────────────────────────────────────


async def successors(lock_file: str | None, sockets: Iterable[socket.socket]) -> AsyncIterator[Streams]:
    """A connection to each successor in turn, which has got copies of the sockets.

    Ends when no successor will come: without a lock file, or when the file is empty, as its last holder ended
    in good order.
    """
    while lock_file is not None and _is_held(lock_file):
        sock = connect_to_holder(lock_file, "detached", sockets)
        if sock is not None:
            yield await asyncio.open_unix_connection(sock=sock)
        await asyncio.sleep(RETRY_AFTER)


def _is_held(lock_file: str) -> bool:
    with contextlib.suppress(OSError):
        return os.stat(lock_file).st_size > 0
    return False


# ── in the control process ────────────────────────────────────────────────────────────────────────


async def take_over(lock_file: str, inherited: list[socket.socket], counts: CountsTable) -> bool:
    """Make the running proxy end, and wait until it has released the state; False if there is none.

    Adds its admin sockets to `inherited`, and the counts that its health loop has not taken to `counts`.
    """
    sock = connect_to_holder(lock_file, "successor")
    if sock is None:
        return False
    await _wait_readable(sock)
    data, sockets = _receive(sock)
    inherited += sockets
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    data += await reader.read()
    writer.close()
    if data:
        counts.add(COUNTS.decode(data))
    return True


class DetachedWorker(msgspec.Struct):
    """A worker of the proxy before; it serves until `writer` tells it to drain."""

    pid: int
    sockets: list[socket.socket]
    writer: asyncio.StreamWriter


class Handover:
    """The lock holder's side. Call `gather`, then `release`, then `close`."""

    def __init__(self, lock: StateLock | None, counts: CountsTable, on_successor: Callable[[], None]) -> None:
        """`lock`: None if the state is in memory; then no other proxy can take over.

        Counts of detached workers are added to `counts`. `on_successor` is called when another proxy asks
        this one to leave.
        """
        self.lock = lock
        self.counts = counts
        self.on_successor = on_successor
        self.successor: socket.socket | None = None  # to the proxy that waits for the state
        self.detached_workers: dict[int, DetachedWorker] = {}
        self.is_gathering = True  # sockets are still accepted
        self.has_missing = True  # workers of the proxy before may listen that did not hand over their sockets
        self.background = Background()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        if lock is not None:
            try:
                self.sock.bind(handover_address(lock.path))
                self.sock.listen()
                self.background.spawn(self._accept())
            except OSError as error:
                log.warning(
                    "no proxy can take over from this one: cannot bind the hand-over socket: %s", error
                )

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
            self.background.spawn(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            if _is_same_user(sock):
                async with asyncio.timeout(TIMEOUT):
                    await _wait_readable(sock)
                data, sockets = _receive(sock)
                hello = msgspec.json.decode(data, type=Hello)
                if hello.what == "detached":
                    await self._adopt(hello.pid, sockets, sock)
                elif self.successor is None:
                    self.successor, sock = sock, socket.socket()
                    self.on_successor()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("hand-over: a connection failed: %r", error)
        finally:
            sock.close()

    async def _adopt(self, pid: int, sockets: list[socket.socket], sock: socket.socket) -> None:
        """Keep the sockets of a detached worker for our workers, and add its counts to theirs."""
        reader, writer = await asyncio.open_unix_connection(sock=sock.dup())
        if self.is_gathering:
            self.detached_workers[pid] = DetachedWorker(pid, sockets, writer)
        else:  # too late: our workers have their sockets already
            close(sockets)
            write_frame(writer, Drain(TIMEOUT))
        try:
            while True:
                report = UPWARD.decode(await read_frame(reader))
                self.counts.add(report.counts)
                self.counts.drop("observations", len(report.observations))
        except (asyncio.IncompleteReadError, OSError):
            self.detached_workers.pop(pid, None)
        finally:
            writer.close()

    async def gather(self) -> list[socket.socket]:
        """The listening sockets of the detached workers that still live; waits for them for `TIMEOUT` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + TIMEOUT
        workers = self.lock.left_behind if self.lock else []
        while missing := [pid for pid in workers if pid not in self.detached_workers and _is_alive(pid)]:
            if loop.time() >= end:
                log.warning(
                    "workers %s of the proxy before have not handed over their sockets in %g s",
                    missing,
                    TIMEOUT,
                )
                break
            await asyncio.sleep(0.02)
        else:
            self.has_missing = False
        self.is_gathering = False
        return [sock for detached in self.detached_workers.values() for sock in detached.sockets]

    def name_workers(self, pids: Iterable[int]) -> None:
        """Write the pids of our workers and of the detached ones to the lock file: the next holder needs both."""
        if self.lock is not None:
            self.lock.write([*self.detached_workers, *pids])

    def release(self, timeout: float) -> None:
        """Our workers serve: drain the detached ones."""
        for detached in self.detached_workers.values():
            write_frame(detached.writer, Drain(timeout, inherited=True))
        self.detached_workers.clear()

    def hand_over(self, admin: Iterable[socket.socket], counts: Counts) -> None:
        """Release the lock, and tell the successor. Call it when the store is closed."""
        assert self.lock is not None and self.successor is not None
        self.lock.leave()
        data = ENCODER.encode(counts)
        with contextlib.suppress(OSError), self.successor as successor:
            successor.settimeout(TIMEOUT)
            successor.sendall(data[socket.send_fds(successor, [data], [s.fileno() for s in admin]) :])

    def close(self) -> None:
        """Stop listening: our own workers, if we leave them, must find the successor."""
        self.background.cancel()
        self.sock.close()


def _is_alive(pid: int) -> bool:
    """A zombie is not alive: its parent may be dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
