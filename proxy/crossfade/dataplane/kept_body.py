"""What is kept of a request's body, to be inspected, or sent once more.

Rule: above the replay limit of the route nothing is kept. Before there is a connection to the backend, the proxy stops
reading from the client instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.dataplane.flow import BODY

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState


def hold(exchange: ExchangeState, data: bytes) -> None:
    """Keep a part of the body."""
    if exchange.more is None:
        exchange.more = bytearray()
    exchange.more += data
    if (
        exchange.assigned is not None
        and exchange.kept > exchange.route.replay_limit
        and not exchange.awaits_body
    ):
        if exchange.upstream is None:
            exchange.client.pause(BODY)
        else:
            forget(exchange)


def forget(exchange: ExchangeState) -> None:
    """Drop the kept body. The request cannot be replayed after this."""
    exchange.replayable = False
    exchange.body = b""
    exchange.more = None
    if exchange.inspection is not None:
        exchange.inspection.release()
