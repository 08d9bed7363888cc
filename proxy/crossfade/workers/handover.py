"""The lock holder's side of a succession: who connects to its socket, and what each is told.

A detached worker, whose control process has ended, hands over its listening sockets; it is drained when the
holder's workers serve. A successor (`run --takeover`) gets copies of all descriptors, and asks the holder to leave
when all is ready. The holder goes on if that successor ends before its workers serve. See docs/succession.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence

import msgspec

from crossfade.control.background import Background
from crossfade.control.seam import WorkerStatus
from crossfade.quality.logged import LoggedBatch
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts
from crossfade.workers import local_socket
from crossfade.workers.link import LeavingWorkers, WorkerLink
from crossfade.workers.messages import (
    FROM_SUCCESSOR,
    Drain,
    Hello,
    Holdings,
    Leave,
    Left,
    Publish,
    Refusal,
    read_frame,
    write_frame,
)
from crossfade.workers.sockets import close
from crossfade.workers.state_lock import StateLock, is_alive, name_of

log = logging.getLogger("crossfade.workers")

TIMEOUT = 10.0  # seconds for a process to hand over its sockets, or to take them
PATIENCE = 600.0  # seconds for a successor to serve, in which it may upgrade a large state; then it is killed
ACCEPT_AGAIN = 0.5  # seconds after an accept that failed
LOST = 10.0  # seconds for a worker without a connection to drain in, and to end


class Offer(msgspec.Struct):
    """What a successor gets: see `Holdings`. `publish`: its snapshot, to our workers."""

    publish: Callable[[Snapshot], object]
    generation: int
    admin: socket.socket
    listening: Sequence[socket.socket]
    places_fd: int | None = None


class Successor:
    """The proxy that asked this one to leave. `serves` becomes False if it ends before its workers serve."""

    def __init__(self, pid: int, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.writer = writer
        self.serves: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def follow(self, reader: asyncio.StreamReader, publish: Callable[[Snapshot], object]) -> bool:
        """Returns `serves`."""
        try:
            while isinstance(message := FROM_SUCCESSOR.decode(await read_frame(reader)), Publish | Leave):
                if isinstance(message, Publish):
                    publish(message.snapshot)
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError):
            self.serves.set_result(False)
        else:
            self.serves.set_result(True)
        return self.serves.result()

    async def outcome(self) -> bool:
        """A successor that neither serves nor ends is killed: two processes must not decide."""
        await asyncio.wait([self.serves], timeout=PATIENCE)
        if not self.serves.done():
            log.error("the successor (pid %d) does not serve after %g s; killing it", self.pid, PATIENCE)
            os.kill(self.pid, signal.SIGKILL)
        return await self.serves

    async def tell(self, counts: Counts, logged: Sequence[LoggedBatch]) -> None:
        write_frame(self.writer, Left(counts, list(logged)))
        async with asyncio.timeout(TIMEOUT):
            await self.writer.drain()

    async def end(self, counts: Counts, logged: Sequence[LoggedBatch]) -> None:
        """It serves: the last that it gets from this proxy."""
        with contextlib.suppress(OSError):
            await self.tell(counts, logged)
        self.writer.close()


class Handover:
    """Call `gather` or, after a takeover, `listen`; then `release`, then `close`."""

    def __init__(
        self,
        lock: StateLock,
        sock: socket.socket,
        leaving: LeavingWorkers,
        on_leave: Callable[[], None],
    ) -> None:
        """`sock`: it listens. `on_leave` is called when a successor asks this proxy to leave."""
        self.lock = lock
        self.sock = sock
        self.leaving = leaving
        self.on_leave = on_leave
        self.offer: Callable[[], Offer] | None = None  # set while this proxy serves
        self.successor: Successor | None = None  # that asked this proxy to leave
        self.detached: dict[
            WorkerLink, set[int]
        ] = {}  # with the inodes of their sockets, which ours are to have
        self.gathered: list[socket.socket] = []
        self.places: int | None = None  # the descriptor of the detached workers' table of places
        self.inherited: set[int] = set()  # inodes of the sockets that our workers have
        self.serving: float | None = None  # seconds for detached workers to finish in, once our workers serve
        self.background = Background()
        self.accepting: asyncio.Task[None] | None = None

    # ── who connects ──────────────────────────────────────────────────────────────────────────

    def listen(self) -> None:
        self.accepting = self.background.task(self._accept())

    def pause(self) -> None:
        """The successor accepts from the same socket."""
        if self.accepting is not None:
            self.accepting.cancel()

    def go_on(self) -> None:
        """The successor has failed."""
        self.successor = None
        self.listen()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        failed = False
        while True:
            try:
                sock, _ = await loop.sock_accept(self.sock)
            except OSError as error:
                if not failed:
                    log.error("hand-over: no connection can be accepted: %s; trying again and again", error)
                failed = True
                await asyncio.sleep(ACCEPT_AGAIN)
            else:
                failed = False
                self.background.spawn(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                if not local_socket.is_same_user(sock):
                    return
                async with asyncio.timeout(TIMEOUT):
                    data, descriptors = await local_socket.receive(sock)
                hello = msgspec.json.decode(data, type=Hello)
                if hello.what == "detached" and hello.places:
                    self._keep_places(descriptors.pop())
                sockets = [socket.socket(fileno=fd) for fd in descriptors]
                if hello.what == "detached":
                    await self._adopt(hello, sockets, sock)
                else:
                    await self._receive_successor(local_socket.pid_of(sock), sock, hello.places)
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("hand-over: a connection failed: %r", error)

    # ── detached workers ──────────────────────────────────────────────────────────────────────

    async def _adopt(self, hello: Hello, sockets: list[socket.socket], sock: socket.socket) -> None:
        """Keep its sockets for our workers, add its counts to theirs, and let it serve until they do."""
        status = WorkerStatus(-1, hello.pid, True, hello.generation, 0, 0.0, {})
        link = WorkerLink(status, await asyncio.open_unix_connection(sock=sock.dup()))
        self.leaving.follow(link)
        inodes = _inodes(sockets)
        if self.serving is None:
            self.detached[link] = inodes
            self.gathered += sockets
        else:
            self._drain(link, inodes, self.serving)
            close(sockets)

    def _keep_places(self, fd: int) -> None:
        """All workers that one proxy has left behind have the same table."""
        if self.places is None and self.serving is None:
            self.places = fd
        else:
            os.close(fd)

    def _drain(self, link: WorkerLink, inodes: set[int], timeout: float) -> None:
        """If our workers do not have all its sockets, it accepts what waits in them."""
        link.draining = True
        link.tell(Drain(timeout, inherited=inodes <= self.inherited))

    async def gather(self) -> list[socket.socket]:
        """The listening sockets of the detached workers that still live; waits for them for `TIMEOUT` seconds."""
        self.listen()
        loop = asyncio.get_running_loop()
        end = loop.time() + TIMEOUT
        while missing := self.missing():
            if loop.time() >= end:
                log.warning("workers %s of the proxy before do not answer in %g s", missing, TIMEOUT)
                break
            await asyncio.sleep(0.02)
        gathered, self.gathered = self.gathered, []
        return gathered

    def missing(self) -> list[str]:
        """Workers of the proxy before that may listen and did not hand over their sockets."""
        here = {link.status.pid for link in self.leaving.links}
        return [
            name
            for name in self.lock.left_behind
            if int(name.partition(":")[0]) not in here and is_alive(name)
        ]

    def name_workers(self, pids: Iterable[int]) -> None:
        """Write the workers that may serve to the lock file: ours, and those of the proxy before."""
        if self.successor is None:
            try:
                others = [name_of(link.status.pid) for link in self.leaving.links]
                self.lock.write(dict.fromkeys([*self.missing(), *others, *map(name_of, pids)]))
            except OSError as error:
                log.error("%s: the workers cannot be named in it: %s", self.lock.path, error)

    def release(self, timeout: float, listening: Iterable[socket.socket]) -> None:
        """Our workers serve from `listening`: drain the detached ones, and end those that did not answer."""
        self.inherited = _inodes(listening)
        self.serving = timeout
        for link, inodes in self.detached.items():
            self._drain(link, inodes, timeout)
        self.detached.clear()
        close(self.gathered)  # of workers that came too late

    async def end_missing(self) -> None:
        """They cannot be told to drain: by a signal, and one that does not react is killed."""
        await asyncio.sleep(TIMEOUT)  # those of a proxy that has just left are on their way
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for name in self.missing():
                log.warning("worker %s of the proxy before does not answer: %s", name, sign.name)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name.partition(":")[0]), sign)
            await asyncio.sleep((self.serving or 0.0) + LOST)

    # ── a successor ───────────────────────────────────────────────────────────────────────────

    async def _receive_successor(self, pid: int, sock: socket.socket, wants_places: bool) -> None:
        if not self._can_leave() or self.offer is None:
            busy = "another one is taking over" if self.successor else "it is starting or ending"
            local_socket.send(sock, msgspec.json.encode(Refusal(f"the running proxy cannot leave: {busy}")))
            return
        offer = self.offer()
        sockets = [self.sock, offer.admin, *offer.listening]
        descriptors = [self.lock.fd, *(each.fileno() for each in sockets)]
        holdings = Holdings(os.getpid(), offer.generation)
        if wants_places and offer.places_fd is not None:
            holdings.places = True
            descriptors.append(offer.places_fd)
        local_socket.send(sock, msgspec.json.encode(holdings), descriptors)
        reader, writer = await asyncio.open_unix_connection(sock=sock.dup())
        serves = False
        try:
            FROM_SUCCESSOR.decode(await read_frame(reader))
            if self._can_leave():  # another one may have been quicker
                self.successor = successor = Successor(pid, writer)
                self.pause()
                self.on_leave()
                serves = await successor.follow(reader, offer.publish)
        except asyncio.IncompleteReadError:
            log.info("the proxy with pid %d did not take over; this one goes on", pid)
        finally:
            if not serves:
                writer.close()

    def _can_leave(self) -> bool:
        return self.offer is not None and self.successor is None

    def close(self) -> None:
        """Those that are connected look for the next holder; our workers, if we leave them, find the successor."""
        self.background.cancel()
        self.leaving.close()
        close(self.gathered)
        if self.places is not None:
            os.close(self.places)
        self.sock.close()


def _inodes(sockets: Iterable[socket.socket]) -> set[int]:
    return {os.fstat(sock.fileno()).st_ino for sock in sockets}
