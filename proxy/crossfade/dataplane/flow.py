"""What both sides of a relay have in common: a transport that can be stopped and resumed (back-pressure)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: closing sends RST


class Flow:
    """`reading`: whether the peer's bytes are taken in; while not, the peer's own sends come to a halt.

    An asyncio.Protocol in all but its base: event loops ask for the methods alone, and classes that are
    compiled can have no base that is not.
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
        """A reset: a peer that reads to the end of the connection must not take half of something for whole."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError

    def eof_received(self) -> bool:
        """Whether the connection stays open the other way."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        raise NotImplementedError

    def resume_writing(self) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        raise NotImplementedError
