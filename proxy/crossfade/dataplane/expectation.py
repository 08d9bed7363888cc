"""Expect: 100-continue (RFC 9110 section 10.1.1): the client sends no body before somebody tells it to.

Rule: the expectation goes to the model, and the model's 100 or its final answer goes to the client, so a model that
refuses by the head alone gets no upload. The proxy itself sends the 100 where it needs the body to choose a route, and
to a client whose model says nothing for WAIT seconds, as curl does. It then expects nothing of this endpoint for
MEMORY seconds: servers of HTTP/1.0 never send a 100. A client gets one 100 at most.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState

WAIT = 1.0
MEMORY = 60.0


def prepare(exchange: ExchangeState) -> None:
    """Before a request with the expectation is sent: does the endpoint get it too?"""
    exchange.expecting = False
    if exchange.request_done or exchange.kept or exchange.continued or exchange.endpoint is None:
        return  # the client does not wait (any more)
    now = monotonic()
    if now < exchange.endpoint.expect_from:
        tell_client(exchange)
        return
    exchange.expecting = True
    exchange.deadline = min(now + WAIT, exchange.total_deadline)


def tell_client(exchange: ExchangeState) -> None:
    """Send the client its 100."""
    exchange.continued = True
    exchange.client.answer_continue()
    end_wait(exchange)


def is_unanswered(exchange: ExchangeState) -> bool:
    """Whether the client waits to be told that it may send its body."""
    return exchange.head.expects_continue and not exchange.continued and not exchange.kept


def end_wait(exchange: ExchangeState) -> None:
    """The body comes, or the client knows that it may."""
    if exchange.expecting:
        exchange.expecting = False
        exchange.deadline = exchange.total_deadline


def on_deadline(exchange: ExchangeState) -> None:
    """The model said nothing."""
    if exchange.endpoint is not None:
        exchange.endpoint.expect_from = monotonic() + MEMORY
    tell_client(exchange)
