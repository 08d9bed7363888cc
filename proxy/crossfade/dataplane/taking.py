"""Whether a peer takes what is written to it. Idle means no progress of either kind, also of writes.

A peer that reads slowly lets bytes wait in the transport and in the kernel's send queue. The kernel's queue holds
megabytes, so a transport may not move for minutes while the peer reads all the time. Rule: the queue is asked only
where a peer has stopped the proxy or a deadline has passed, never for each request.
"""

from __future__ import annotations

import socket
import struct
import termios
from fcntl import ioctl
from typing import Final

from crossfade.dataplane.least_rate import LeastRate
from crossfade.dataplane.turn import Outlet

LOOKS: Final = 4  # looks in the time after which a peer that takes nothing is given up
BYTES_ACKED: Final = 120  # offset of tcpi_bytes_acked in Linux's struct tcp_info, since 4.1
INFO_SIZE: Final = 128


def waiting(transport: Outlet) -> int:
    """Bytes that the peer has not taken yet."""
    try:
        queue = ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # closed
        return 0
    size: int = struct.unpack("i", queue)[0]
    return size + transport.get_write_buffer_size()


def taken(transport: Outlet) -> int:
    """A number that grows by the bytes that the peer takes. Over TCP the kernel counts them."""
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_SIZE)
    except (OSError, ValueError):  # a unix socket, or closed
        info = b""
    if len(info) < INFO_SIZE:
        return -waiting(transport)
    acked: int = struct.unpack_from("Q", info, BYTES_ACKED)[0]
    return acked


class Taking:
    """What is known of a peer for which bytes wait."""

    def __init__(self, transport: Outlet, now: float) -> None:
        self.transport = transport
        self.taken = taken(transport)
        self.moved_at = now  # when it was last seen to take any
        self.rate: LeastRate | None = None

    def look(self, now: float) -> bool:
        """Whether the peer has taken any since the last look."""
        before, self.taken = self.taken, taken(self.transport)
        if self.taken == before:
            return False
        self.moved_at = now
        return True

    def next_look(self, now: float, patience: float) -> float:
        """Seconds until then; 0: it took nothing for `patience`, or too little."""
        wait = min(self.moved_at + patience - now, self.interval(patience))
        if wait <= 0 or (self.rate is not None and not self.rate.is_kept(now, self.taken)):
            return 0.0
        return wait

    def interval(self, patience: float) -> float:
        wait = patience / LOOKS
        return wait if self.rate is None else min(wait, self.rate.window)
