"""A connection whose reading can be paused and resumed (back-pressure): the base of both sides of a relay.

Rule: reading is paused for reasons, and resumed when none is left. Whoever has paused it for a reason resumes it
from that reason alone, so no state of a connection undoes the back-pressure of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Final

PIPELINE: Final = 1  # requests wait behind the one under way
BODY: Final = 2  # it is kept until a backend is connected
PEER: Final = 4  # the other side of the relay does not read
ANSWERS: Final = 8  # the client does not read its answers
OF_EXCHANGE: Final = BODY | PEER
ALL: Final = PIPELINE | BODY | PEER | ANSWERS
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class Flow:
    """`paused`: the reasons why the proxy does not read from the peer, as bits; 0 while it reads.

    It has the methods of asyncio.Protocol and not that base class: event loops need only the methods, and a
    compiled class cannot have a base that is not compiled.
    """

    transport: asyncio.Transport
    paused: int

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.paused = 0

    def pause(self, reason: int) -> None:
        before = self.paused
        self.paused = before | reason
        if not before and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self, reasons: int) -> None:
        before = self.paused
        self.paused = before & ~reasons
        if before and not self.paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def set_paused(self, reason: int, paused: bool) -> None:
        if paused:
            self.pause(reason)
        else:
            self.resume(reason)

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
