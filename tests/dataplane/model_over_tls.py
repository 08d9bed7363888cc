"""A model server over TLS: it answers each request with its name, and records the SNI and the client certificates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.dataplane.wire import ok


def _end_without_close_notify(writer: asyncio.StreamWriter) -> None:
    """Send FIN without a close_notify."""
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_WR)
    writer.transport.abort()


class TlsModel:
    """`names`: the SNI of each connection. `shown`: the client certificate of each connection.

    `says_end` False: connections end without a close_notify.
    """

    def __init__(self, name: str, context: ssl.SSLContext | None) -> None:
        self.name = name
        self.context = context
        self.names: list[str | None] = []
        self.shown: list[object] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.says_end = True
        self.answer = ok(name.encode())
        self.writers: set[asyncio.StreamWriter] = set()
        if context is not None:
            context.sni_callback = lambda _, name, __: self.names.append(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        self.shown.append(writer.get_extra_info("peercert"))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                writer.write(self.answer)
                await writer.drain()
                if not self.answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length"):
                    break
        self.writers.discard(writer)
        if self.says_end:
            writer.close()
        else:
            _end_without_close_notify(writer)

    def _abort_connections(self) -> None:
        for writer in list(self.writers):
            writer.transport.abort()

    @asynccontextmanager
    async def serving(self, path: str | None = None, port: int = 0) -> AsyncIterator[int]:
        """Listen on a port of 127.0.0.1, or on the unix socket `path` (the port is then 0)."""
        if path is not None:
            server = await asyncio.start_unix_server(self.serve, path)
        else:
            server = await asyncio.start_server(self.serve, "127.0.0.1", port, ssl=self.context)
        try:
            yield 0 if path is not None else server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self._abort_connections()
            await server.wait_closed()
