"""What one outcome adds to the counts of a cell, and of what kind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.errors import Stage
from crossfade.stats.counts import Cell, Events

if TYPE_CHECKING:
    from crossfade.dataplane.outcome import Outcome


def fault_of(outcome: Outcome, code: int) -> str:
    """The kind of an error: the status of a complete answer, else the stage at which there was none."""
    stage = outcome.fallback_stage or (outcome.stages[-1] if outcome.stages else Stage.STATUS)
    return str(code) if stage is Stage.STATUS else stage


def is_rejection(outcome: Outcome, code: int) -> bool:
    """Whether the assigned backend itself answered so, and the route counts this status as a rejection."""
    answered = outcome.answered_by != "" and not outcome.fell_back
    return answered and outcome.route is not None and code in outcome.route.rejections


def events_of(cell: Cell, what: str) -> Events:
    events = cell.events.get(what)
    if events is None:
        cell.events[what] = events = Events()
    return events


def count_at(cell: Cell, endpoint: str, what: str, n: int = 1) -> None:
    counted = cell.by_endpoint.get(endpoint)
    if counted is None:
        cell.by_endpoint[endpoint] = counted = {}
    counted[what] = counted.get(what, 0) + n
