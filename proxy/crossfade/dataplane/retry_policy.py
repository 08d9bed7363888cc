"""Whether a request may be sent once more: to the same backend (retry), or to the fallback.

Rule: a request that a backend may have acted on is sent again only if HTTP or the operator allows it,
the whole body is still in memory, and the budget has room. The budget keeps retries from multiplying an
outage (design section 4).
"""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

from crossfade.dataplane.writing import is_writable
from crossfade.errors import UNSENT, Failure, Fallback, Stage

if TYPE_CHECKING:
    from crossfade.dataplane.endpoint import EndpointState
    from crossfade.dataplane.state import ExchangeState

FLOOR = 10  # retries and fallbacks that are always allowed at a time (linkerd: 10 a second)
SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})  # RFC 9110 section 9.2.1


class RetryBudget:
    """How many requests may be on a retry or fallback at a time: a share of the active requests."""

    def __init__(self, active: Sized) -> None:
        self.active = active
        self.taken = 0

    def take(self, share: float) -> bool:
        if self.taken >= max(FLOOR, share * len(self.active)):
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        self.taken -= 1


def may_retry(exchange: ExchangeState, failure: Failure, budget: RetryBudget) -> bool:
    """Whether the same backend may get it again, over another connection or at another endpoint."""
    if not failure.retries_endpoint or not exchange.replayable:
        return False
    spec = exchange.route.spec
    if exchange.attempts >= spec.retry_attempts:
        return False
    elsewhere = bool(retry_choices(exchange, failure.stage))
    if failure.stage in UNSENT:
        return elsewhere
    if failure.stage is Stage.RESET and not elsewhere:  # this was a fresh connection to the only endpoint
        return False
    return (spec.pure or exchange.head.method in SAFE_METHODS) and take_budget(exchange, budget)


def retry_choices(exchange: ExchangeState, stage: Stage) -> list[EndpointState]:
    """The other endpoints for one more attempt, the best ones only; none if there is no other.

    An ejected endpoint that passes its probes is better than one that has just failed this request: it may have
    recovered. But a stale connection is a race and says nothing of its endpoint.
    """
    answering, last, tried = exchange.answering, exchange.endpoint, exchange.tried
    available = answering.available or answering.last_resort
    others = [e for e in available if e is not last]
    untried = [e for e in others if e not in tried]
    if untried or stage is Stage.STALE:
        return untried or others
    ejected = [e for e in answering.in_service() if e is not last and e not in tried]
    return ejected or others


def may_fall_back(exchange: ExchangeState, failure: Failure, budget: RetryBudget) -> bool:
    """Whether the fallback may answer: once, before the first byte, and not in place of itself."""
    if failure.fallback is Fallback.NEVER or exchange.fell_back or not exchange.replayable:
        return False
    fallback = exchange.fallback
    if fallback is None or fallback is exchange.answering:
        return False
    if fallback.demands and not is_writable(exchange, fallback):
        return False
    return failure.fallback is Fallback.ALWAYS or (exchange.route.spec.pure and take_budget(exchange, budget))


def take_budget(exchange: ExchangeState, budget: RetryBudget) -> bool:
    """Take a place in the budget, once for each exchange. Returns whether it has one."""
    if not exchange.holds_budget:
        exchange.holds_budget = budget.take(exchange.route.spec.retry_budget)
    return exchange.holds_budget
