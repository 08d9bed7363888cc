"""Connections of the admin port: how many there are, and how long each may take.

Rule: a client that is silent, slow, large or one of many holds a bounded number of descriptors and bytes for a bounded
time, so that the control process can always start a worker, and an operator always gets in: where no connection is
left, the one that has waited longest for a head or a body makes room. What aiohttp limits itself (lines, fields, bodies
that a handler reads, requests in its queue) is not limited here again.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from crossfade.admin.handshakes import Handshakes

log = logging.getLogger("crossfade.admin")

MAX_CONNECTIONS = 256  # those of readers of events are among them
MAX_HEAD = 64 * 1024  # bytes; nginx: 32 KiB, Apache: 100 fields of 8 KiB
HEAD_TIME = (
    10.0  # seconds from the first byte of a head to its last, or from the connection to the first head
)
BODY_TIME = 20.0  # seconds from the head to the last byte of the body
STREAM_TIME = 600.0  # seconds of a body that is used as it comes, in which BODY_TIME may pass without a byte
IDLE_TIME = (
    75.0  # seconds from the end of a handler to the next head; the client must have read the answer by then
)
LINGER_TIME = 2.0  # seconds in which a body that nobody reads may end
NOTE_EVERY = 60.0  # seconds between two lines of the log about a full port


def most_connections() -> int:
    """A quarter of the descriptors that this process may have, and not more than anybody needs."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(MAX_CONNECTIONS, descriptors // 4), 1)


class Connections:
    """Makes the protocol of each connection: for `loop.create_server`."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self.make = make
        self.limit = most_connections()
        self.open: set[Connection] = set()
        self.waiting: dict[Connection, None] = {}  # for a head or a body; the longest first
        self.noted = -NOTE_EVERY

    def __call__(self) -> Connection:
        return Connection(self, self.make())

    def admit(self, connection: Connection) -> bool:
        if len(self.open) >= self.limit:
            self._note_full()
            if not self.waiting:
                return False
            next(iter(self.waiting)).end_early()
        self.open.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self.open.discard(connection)
        self.waiting.pop(connection, None)

    def _note_full(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self.noted >= NOTE_EVERY:
            self.noted = now
            log.warning(
                "admin port: %d connections are open; the idle ones are closed for others", self.limit
            )


class Connection(asyncio.Protocol):
    """Passes all events on to aiohttp's protocol, and ends the connection when its time is over."""

    transport: asyncio.Transport

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self.connections = connections
        self.inner: asyncio.Protocol | None = inner
        self.timer: asyncio.TimerHandle | None = None
        self.head: bytes | None = None  # the last bytes of a head that has begun and not ended
        self.head_size = 0
        self.in_request = False

    # ── events of the transport ──────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self.connections.admit(self):
            self.inner = None
            self.end(503, "Service Unavailable")
            return
        assert self.inner is not None
        self.inner.connection_made(transport)
        self._wait(HEAD_TIME)

    def data_received(self, data: bytes) -> None:
        if self.inner is None:
            return
        if not self.in_request and not self._is_head_fit(data):
            self.end(431, "Request Header Fields Too Large")
            return
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self.inner is None else self.inner.eof_received()

    def pause_writing(self) -> None:
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        if self.inner is not None:
            self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self.connections.forget(self)
        if self.inner is not None:
            self.inner.connection_lost(error)

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def request_begins(self) -> None:
        """A head is complete, and its handler begins."""
        self.in_request = True
        self.head, self.head_size = None, 0
        self._stop_timer()
        self.connections.waiting.pop(self, None)

    def request_ends(self, has_body_left: bool) -> None:
        """The handler has ended; its answer may still be on the way, and so may the rest of the body."""
        self.in_request = False
        self.head_size = int(has_body_left)  # what comes now is no head
        if self in self.connections.open:
            self._wait(IDLE_TIME)

    def body_begins(self) -> None:
        self.connections.waiting[self] = None

    def body_ends(self) -> None:
        self.connections.waiting.pop(self, None)

    def _is_head_fit(self, data: bytes) -> bool:
        """Whether the head that these bytes belong to is not too large."""
        if self.head is None and self.head_size == 0:
            self.head = b""
            if self in self.connections.waiting:
                self._start_timer(HEAD_TIME)
        if self.head is None:  # it has ended: these are bytes of its body, before the handler has begun
            return True
        self.head_size += len(data)
        seen = self.head + data
        self.head = None if b"\r\n\r\n" in seen else seen[-3:]
        return self.head is None or self.head_size <= MAX_HEAD

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    def _wait(self, seconds: float) -> None:
        self.connections.waiting[self] = None
        self._start_timer(seconds)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self.timer = asyncio.get_running_loop().call_later(seconds, self.end_early)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def end_early(self) -> None:
        """Its time is over, or its place is needed."""
        if self.head is None and not self.in_request:
            self.end()
        else:
            self.end(408, "Request Timeout")

    def end(self, status: int = 0, phrase: str = "") -> None:
        """Without an answer if there is no status, or if the client has not even read the one before."""
        self.connections.forget(self)
        if not self.transport.is_closing() and not self.transport.get_write_buffer_size() and status:
            self.transport.write(b"HTTP/1.1 %d %b\r\nConnection: close\r\n" % (status, phrase.encode()))
            self.transport.write(b"Content-Length: 0\r\n\r\n")
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells the connection when a request begins and ends."""
    connection = _connection_of(request)
    if connection is None:
        return await handler(request)
    connection.request_begins()
    try:
        return await handler(request)
    finally:
        connection.request_ends(not request.content.is_eof())


def _connection_of(request: web.Request) -> Connection | None:
    """None where the application is served by another site, or the client has left."""
    found = request.transport and request.transport.get_protocol()
    return found if isinstance(found, Connection) else None


async def body_of(request: web.Request) -> bytes:
    """The whole body. It is not decompressed: a few kilobytes could become gigabytes."""
    _refuse_codings(request)
    connection = _connection_of(request)
    try:
        if connection is not None:
            connection.body_begins()
        async with asyncio.timeout(BODY_TIME):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"The body took longer than {BODY_TIME:g} s.") from None
    finally:
        if connection is not None:
            connection.body_ends()


async def parts_of(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes, for a handler that takes some time for each part: only the waiting for bytes is limited."""
    _refuse_codings(request)
    connection = _connection_of(request)
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_TIME
    while True:
        try:
            if connection is not None:
                connection.body_begins()
            async with asyncio.timeout_at(min(loop.time() + BODY_TIME, end)):
                part = await request.content.readany()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="The body came too slowly.") from None
        finally:
            if connection is not None:
                connection.body_ends()
        if not part:
            return
        yield part


def _refuse_codings(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType(text="The body must not be compressed.")


def admin_runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        logger=_without_faults_of_clients(),
        shutdown_timeout=2,
        auto_decompress=False,
        lingering_time=LINGER_TIME,
        keepalive_timeout=IDLE_TIME + 1,  # `Connection` comes first
    )


def _without_faults_of_clients() -> logging.Logger:
    """aiohttp logs a traceback for each request that is no HTTP, so that anybody could fill the disk."""
    kept = logging.getLogger("crossfade.admin.http")
    kept.addFilter(_is_fault_of_ours)
    return kept


def _is_fault_of_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class AdminSite(web.SockSite):
    """A listening socket whose connections have limits. `context`: of TLS, if callers are to use it."""

    connections: Connections

    def __init__(
        self, runner: web.AppRunner, sock: socket.socket, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(runner, sock)
        self.context = context
        self.handshakes: Handshakes | None = None

    async def start(self) -> None:
        await web.BaseSite.start(self)
        make = self._runner.server
        assert make is not None
        self.connections = Connections(make)
        loop, backlog = asyncio.get_running_loop(), self._backlog
        if self.context is not None:
            limit = self.connections.limit
            self.handshakes = Handshakes(self._sock, self.connections, self.context, limit, backlog)
        elif self._sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(self.connections, sock=self._sock, backlog=backlog)
        else:
            self._server = await loop.create_server(self.connections, sock=self._sock, backlog=backlog)

    async def stop(self) -> None:
        if self.handshakes is not None:
            await self.handshakes.close()
        await super().stop()
