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

from crossfade.dataplane.taking import Taking, waiting
from crossfade.dataplane.turn import Outlet, Receiver

PIPELINE: Final = 1  # requests wait behind the one under way
BODY: Final = 2  # it is kept until a backend is connected
PEER: Final = 4  # the other side of the relay does not read
ANSWERS: Final = 8  # the client does not read its answers
OTHERS: Final = 16  # what it has sent was much work, and other connections have their turn
OF_EXCHANGE: Final = BODY | PEER
ALL: Final = PIPELINE | BODY | PEER | ANSWERS | OTHERS
HIGH_WATER: Final = 64 * 1024  # bytes in a transport above which the other side is not read
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class Flow(Receiver):
    """`paused`: the reasons why the proxy does not read from the peer, as bits; 0 while it reads.

    It has the methods of asyncio.Protocol and not that base class: event loops need only the methods, and a
    compiled class cannot have a base that is not compiled.
    """

    secure: bool  # over TLS
    paused: int
    pauses: int  # how often reading was paused
    taking: Taking | None  # set while the peer does not read

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = Outlet(transport)
        self.waits = False
        self.paused = self.pauses = 0
        self.taking = None
        self.secure = transport.get_extra_info("ssl_object") is not None
        if self.secure:
            transport.set_write_buffer_limits(HIGH_WATER)  # event loops take eight times as much over TLS

    def pause(self, reason: int) -> None:
        before = self.paused
        self.paused = before | reason
        if not before and not self.transport.is_closing():
            self.pauses += 1
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

    def yield_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read on in the next turn of the loop: event loops read up to 32 times from one connection before that."""
        self.pause(OTHERS)
        loop.call_soon(self.resume, OTHERS)

    def next_look(self, now: float, patience: float) -> float:
        """Seconds until the next look at what the peer takes; 0: nothing waits, or it took nothing for `patience`.

        Called when a deadline has passed.
        """
        if not waiting(self.transport):
            taking, self.taking = self.taking, None
            return patience if taking is not None and taking.look(now) else 0.0
        if self.taking is None:
            self.taking = self.watch(now)
        else:
            self.taking.look(now)
        return self.taking.next_look(now, patience)

    def watch(self, now: float) -> Taking:
        """Begin to watch what the peer takes, for it does not read."""
        return Taking(self.transport, now)

    def abort(self) -> None:
        """Reset the connection: a peer that reads until the end must not take a truncated message for a complete one."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def pause_writing(self) -> None:
        raise NotImplementedError

    def resume_writing(self) -> None:
        raise NotImplementedError
