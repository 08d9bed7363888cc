"""A connection whose reading can be paused and resumed (back-pressure): the base of both sides of a relay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class Flow:
    """`reading`: whether the proxy reads from the peer.

    It has the methods of asyncio.Protocol and not that base class: event loops need only the methods, and a
    compiled class cannot have a base that is not compiled.
    """

    transport: asyncio.Transport
    reading: bool

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.reading = True

    def set_reading(self, reading: bool) -> None:
        if reading is not self.reading and not self.transport.is_closing():
            self.reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def abort(self) -> None:
        """Reset the connection: a peer that reads until the end must not take a truncated message for a complete one."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError

    def eof_received(self) -> bool:
        """Returns whether the other direction stays open."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        raise NotImplementedError

    def resume_writing(self) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        raise NotImplementedError
