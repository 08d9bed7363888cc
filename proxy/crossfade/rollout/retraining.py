"""When a route's model is to be trained again: from occasions to orders.

Rule: a route has one order at a time. After an order, other occasions give none until the cooldown is over, for they are
mostly the same drift, seen again; an operator's word always counts. Times are served times (law 14), but those that are only
shown, which are wall times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

SCHEDULE, OPERATOR = "schedule", "operator"
LONGEST_PAUSE = 600.0  # seconds between two attempts


class RetrainRule(NamedTuple):
    """What the configuration says. `drifts`: the kinds of drift that are occasions. Durations in seconds."""

    drifts: frozenset[str]
    schedule: float | None
    cooldown: float
    attempts: int


class Order(msgspec.Struct, frozen=True):
    """`id` is the same at each attempt, so that whoever trains knows one that it has had. `at`: wall time."""

    id: str
    reason: str
    at: float
    evidence: Any = None


class EndedOrder(msgspec.Struct, frozen=True):
    """`outcome`: succeeded, failed or withdrawn. `at` and `ended`: wall times. `answer`: of whoever trained."""

    id: str
    reason: str
    at: float
    ended: float
    outcome: str
    detail: str
    answer: Any = None


class Retraining(msgspec.Struct, frozen=True):
    """Of one route, durable. `since`: when its schedule began; `ordered`: when the last order was given; `orders`: how many so far."""

    since: float
    ordered: float | None = None
    orders: int = 0
    order: Order | None = None
    last: EndedOrder | None = None


def refusal(held: Retraining, rule: RetrainRule, reason: str, now: float) -> str:
    """Why this occasion gives no order; "" if it gives one."""
    if held.order is not None:
        return f"order {held.order.id} is under way"
    if reason == OPERATOR:
        return ""
    if reason not in rule.drifts and (reason != SCHEDULE or rule.schedule is None):
        return f"{reason} is no occasion in the file"
    if cooldown_left(held, rule, now) > 0:
        return "the cooldown is not over"
    return ""


def cooldown_left(held: Retraining, rule: RetrainRule, now: float) -> float:
    """Seconds; 0 when it is over."""
    return 0.0 if held.ordered is None else max(held.ordered + rule.cooldown - now, 0.0)


def schedule_left(held: Retraining, rule: RetrainRule, now: float) -> float | None:
    """Seconds until the schedule is an occasion; None without a schedule. It counts from the last order, whatever its reason."""
    if rule.schedule is None:
        return None
    begin = held.since if held.ordered is None else held.ordered
    return max(begin + rule.schedule - now, 0.0)


def ordered(held: Retraining, reason: str, evidence: Any, now: float, at: float) -> Retraining:
    """`at`: wall time; the id has it, as the numbers begin anew where the state is lost."""
    number = held.orders + 1
    order = Order(f"{int(at)}-{number}", reason, at, evidence)
    return replace(held, ordered=now, orders=number, order=order)


def ended(held: Retraining, outcome: str, detail: str, at: float, answer: Any = None) -> Retraining:
    """The order under way has ended. `at`: wall time."""
    order = held.order
    assert order is not None
    last = EndedOrder(order.id, order.reason, order.at, at, outcome, detail, answer)
    return replace(held, order=None, last=last)


def pause_after(attempt: int) -> float:
    """Seconds until the next attempt; `attempt` is from 1."""
    return min(2.0 ** min(attempt - 1, 20), LONGEST_PAUSE)
