"""What has ended an exchange whose deadline has passed, if anything has.

Rule: a peer that takes bytes is not idle, however slowly it takes them. A client that takes none is one that left, a
backend that takes none is one that does not answer.
"""

from __future__ import annotations

from time import monotonic

from crossfade.dataplane.state import ExchangeState
from crossfade.dataplane.taking import LOOKS
from crossfade.errors import Stage


def end_of(exchange: ExchangeState, now: float) -> Stage | None:
    """None: a peer still takes what waits for it, and the deadline is put off."""
    if now < exchange.total_deadline and put_off(exchange, now):
        return None
    if exchange.client_stalls:
        return Stage.CLIENT_LEFT
    if exchange.upstream is not None and not exchange.request_done and not exchange.client.paused:
        return Stage.HEAD_TIMEOUT  # the client is slow (law 6)
    if now >= exchange.total_deadline:
        return Stage.TOTAL
    return Stage.FIRST_BYTE if exchange.answer is None else Stage.BODY


def idle_deadline(exchange: ExchangeState, now: float) -> float:
    wait = exchange.answering.idle_timeout
    taking = exchange.client.taking
    if exchange.client_stalls and taking is not None:
        wait = taking.interval(wait)
    return min(now + wait, exchange.total_deadline)


def first_look(exchange: ExchangeState) -> float:
    """When to look first at a backend that has just stopped the upload."""
    return min(monotonic() + exchange.answering.first_byte_timeout / LOOKS, exchange.total_deadline)


def put_off(exchange: ExchangeState, now: float) -> bool:
    backend, upstream = exchange.answering, exchange.upstream
    wait = 0.0
    if exchange.client_stalls:
        wait = exchange.client.next_look(now, backend.idle_timeout)
    elif upstream is not None:
        limit = backend.first_byte_timeout if exchange.answer is None else backend.idle_timeout
        wait = upstream.next_look(now, limit)
    exchange.deadline = min(now + wait, exchange.total_deadline)
    return wait > 0
