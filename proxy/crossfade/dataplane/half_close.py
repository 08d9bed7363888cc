"""A client that sends no more: has it left, or has it only closed its half of the connection?

TCP says the same of both, with a FIN. Most proxies take either for leaving, or neither; but a client
that half-closed is owed its answer, and work for one that left must stop. So it is asked: one byte that
means nothing to a client that listens is answered with a reset by the system of one that has gone.

| when the FIN comes                  |                                                       |
|-------------------------------------|-------------------------------------------------------|
| before the request is whole         | it left: half an upload is no request                 |
| before the answer, HTTP/1.1         | asked with `100 Continue` (RFC 9110 section 15.2.1)   |
| before the answer, HTTP/1.0         | it left: it knows no 1xx, so there is nothing to ask  |
| in an answer in chunks              | asked with `0`, a leading zero of the next chunk size |
| in any other answer                 | the bytes that follow ask                             |
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

LOOK = 0.05  # seconds between looks at a connection of which only one half is open
LEADING_ZERO = b"0"  # RFC 9112 section 7.1: chunk-size = 1*HEXDIG, and last-chunk = 1*("0")
TCP_CLOSE = 7  # tcpi_state of a connection that was reset, in Linux's tcp_states.h


def question(exchange: ExchangeState | None, recode: bool) -> bytes | None:
    """What asks whether the client is still there: nothing where that need not be asked, None where it cannot be.

    `recode`: the answer goes out in chunks of ours.
    """
    if exchange is None:
        return b""
    if exchange.answer is None:
        return relay.CONTINUE if exchange.head.start.is_http11 else None
    return LEADING_ZERO if recode else b""


def watch_for_reset(client: Flow, loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(LOOK, look, client, loop)


def look(client: Flow, loop: asyncio.AbstractEventLoop) -> None:
    """While nothing is read, the event loop does not notice a reset; nobody may write for long."""
    if client.transport.is_closing():
        return
    if is_gone(client):
        client.abort()
    else:
        watch_for_reset(client, loop)


def is_gone(client: Flow) -> bool:
    sock = client.transport.get_extra_info("socket")
    try:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE)
    except OSError:
        return True
