"""Answers that the proxy gives itself as the configuration says: redirects, responses, and those to CORS preflights.

Rule: the route is the one that answers, so no backend is assigned, and the answer is whole at once. The exchange ends
behind it like any other.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from crossfade.http1.response_head import ResponseHead
from crossfade.routing.own_answers import CompiledAnswer
from crossfade.routing.router import CompiledRoute, Router

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState


def preflight(exchange: ExchangeState, router: Router) -> bool:
    """Answer a browser that asks whether a page of another origin may call the route (CORS). False: there is no such route."""
    route = router.preflight_route(exchange.head)
    if route is None or route.cors is None:
        return False
    exchange.route = route
    _answer(exchange, route, route.cors.preflight(exchange.head), b"")
    return True


def respond(exchange: ExchangeState, route: CompiledRoute, own: CompiledAnswer) -> None:
    """Answer for a route without backends."""
    answer = own.head(exchange.head)
    if route.answer_fields is not None:
        answer = route.answer_fields.edited(answer, exchange.head)
    _answer(exchange, route, answer, own.body)


def _answer(exchange: ExchangeState, route: CompiledRoute, head: ResponseHead, body: bytes) -> None:
    if exchange.head.upgrade is not None:
        exchange.client.expect_no_other_request()
    exchange.assigned = route.own
    exchange.status = head.status
    exchange.first_byte_at = monotonic()
    exchange.sent = 0 if exchange.head.start.bodiless else len(body)
    exchange.client.answer_own(head, body)
    exchange.answer = head
