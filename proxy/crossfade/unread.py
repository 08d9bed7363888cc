"""Bytes that a peer sent before it closed, and that a failed write would lose.

Rule: bytes that have arrived win over a write that failed. A server that answers before it has read an upload, and
closes, resets the connection (RFC 9112 section 9.6). Then a write fails, and event loops close the socket although
the answer waits in its receive buffer. The socket is open until `connection_lost` returns, and Linux keeps the
bytes that arrived before a reset.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Any

_PIECE = 64 * 1024
_PIECES = 256  # 16 MiB; receive buffers are smaller, unless the system is configured otherwise


def unread(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """What has arrived and was not read. Call it from `connection_lost`."""
    sock = transport.get_extra_info("socket")
    try:
        for _ in range(_PIECES):
            data = os.read(sock.fileno(), _PIECE)
            if not data:
                return
            yield data
    except OSError:  # nothing more is there, or the reset itself
        return


def had_end(error: OSError) -> bool:
    """Whether the peer sent a FIN before the reset that made a write fail: then the message was not cut off.

    Linux reports EPIPE for a reset after a FIN, and ECONNRESET for any other (tcp_reset in net/ipv4/tcp_input.c).
    """
    return sys.platform == "linux" and isinstance(error, BrokenPipeError)


class WholeInput(asyncio.BufferedProtocol):
    """Between a TCP connection and the event loop's TLS protocol: gives that one the unread bytes before the end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.tls: Any = transport.get_protocol()

    def get_buffer(self, sizehint: int) -> Any:
        return self.tls.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self.tls.buffer_updated(nbytes)

    def eof_received(self) -> Any:
        """No answer can come any more: do not wait until the peer reads the rest of a request."""
        goes_on = self.tls.eof_received()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        return goes_on

    def pause_writing(self) -> None:
        self.tls.pause_writing()

    def resume_writing(self) -> None:
        self.tls.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            for data in unread(self.transport):
                self.pass_on(data)
        self.tls.connection_lost(exc)

    def pass_on(self, data: bytes) -> None:
        while data:
            room = self.tls.get_buffer(len(data))
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.tls.buffer_updated(size)
            data = data[size:]
