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

_PIECE = 64 * 1024
_PIECES = 256  # 16 MiB; receive buffers are smaller, unless the system is configured otherwise


def unread(transport: asyncio.Transport) -> Iterator[bytes]:
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
