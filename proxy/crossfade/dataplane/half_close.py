"""Tells a client that closed its half of the connection from a client that left.

TCP sends a FIN in both cases. A client that half-closed still waits for its answer; work for a client
that left must stop. So the proxy sends a probe: bytes without meaning for a client that still reads.
The system of a client that left answers them with a reset.

| when the FIN comes                  |                                                       |
|-------------------------------------|-------------------------------------------------------|
| before the request is complete, and |                                                       |
| its answer has not begun            | it left: half an upload is no request                 |
| before the answer, HTTP/1.1         | probe: `100 Continue` (RFC 9110 section 15.2.1)       |
| before the answer, HTTP/1.0         | it left: it knows no 1xx, so there is no probe        |
| in a chunked answer                 | probe: `0`, a leading zero of the next chunk size     |
| in any other answer                 | the next bytes of the answer are the probe            |
| over TLS                            | it left: close_notify closes both halves here         |
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from crossfade.dataplane import relay

if TYPE_CHECKING:
    import asyncio

    from crossfade.dataplane.flow import Flow
    from crossfade.dataplane.state import ExchangeState

CHECK_INTERVAL = 0.05  # seconds between two checks of a half-closed connection
LEADING_ZERO = b"0"  # RFC 9112 section 7.1: chunk-size = 1*HEXDIG, and last-chunk = 1*("0")
TCP_CLOSE = 7  # tcpi_state of a connection that was reset, in Linux's tcp_states.h


def probe_bytes(exchange: ExchangeState | None, recode: bool) -> bytes | None:
    """The bytes of the probe: empty where none is needed, None where none is possible.

    `recode`: the proxy frames the answer in chunks of its own.
    """
    if exchange is None:
        return b""
    if exchange.answer is None:
        return relay.CONTINUE if exchange.head.start.is_http11 else None
    return LEADING_ZERO if recode else b""


def probe(client: Flow, exchange: ExchangeState | None, recode: bool) -> bool:
    """Send the probe. Returns False where none is possible."""
    data = probe_bytes(exchange, recode) if client.transport.can_write_eof() else None
    if data:
        client.transport.write(data)
    return data is not None


def watch_for_reset(client: Flow, loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(CHECK_INTERVAL, _check, client, loop)


def _check(client: Flow, loop: asyncio.AbstractEventLoop) -> None:
    """The event loop does not notice a reset while reading is paused and nothing is written."""
    if client.transport.is_closing():
        return
    if _was_reset(client):
        client.abort()
    else:
        watch_for_reset(client, loop)


def _was_reset(client: Flow) -> bool:
    sock = client.transport.get_extra_info("socket")
    try:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE)
    except OSError:
        return True
