"""May a request be sent once more? To the same backend, or to the one that answers in its place.

Rule: what a backend may have acted on is repeated only where HTTP or the operator says that it may
be, where the whole body is still at hand, and where the budget has room: repeats are to bridge a
failure, never to multiply it (design section 4).
"""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

from crossfade.errors import UNSENT, Failure, Fallback, Stage

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState

FLOOR = 10  # repeats always allowed at a time, whatever the budget (linkerd: 10 a second)
SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})  # RFC 9110 section 9.2.1


class RetryBudget:
    """Places for repeats: a share of the active requests, so that they cannot multiply an outage."""

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
    """Once more on the same backend, over another connection or at another endpoint."""
    if not failure.retries_endpoint or not exchange.replayable:
        return False
    spec = exchange.route.spec
    if exchange.attempts >= spec.retry_attempts:
        return False
    # Its failure may just have had the endpoint ejected, so the number left says nothing.
    elsewhere = any(other is not exchange.endpoint for other in exchange.answering.available)
    if failure.stage in UNSENT:
        return elsewhere
    if failure.stage is Stage.RESET and not elsewhere:  # a fresh connection has just told how it is there
        return False
    return (spec.pure or exchange.head.method in SAFE_METHODS) and take_budget(exchange, budget)


def may_fall_back(exchange: ExchangeState, failure: Failure, budget: RetryBudget) -> bool:
    """Once, before the first byte of an answer, and not from the fallback to itself."""
    if failure.fallback is Fallback.NEVER or exchange.fell_back or not exchange.replayable:
        return False
    if exchange.fallback in (None, exchange.answering):
        return False
    return failure.fallback is Fallback.ALWAYS or (exchange.route.spec.pure and take_budget(exchange, budget))


def take_budget(exchange: ExchangeState, budget: RetryBudget) -> bool:
    """A place in the budget for work that a backend may have done once already."""
    if not exchange.holds_budget:
        exchange.holds_budget = budget.take(exchange.route.spec.retry_budget)
    return exchange.holds_budget
