"""Events of streamed answers, for the tests of checks: a stream that broke, or whose value is beyond a check's limit.

Rule: as for latency, a limit is fixed before the streams that it is applied to are counted (statistics 1.2). A stream is the
unit, so the number of requests that could have an event is that of streams with such a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from crossfade.rollout.plan import Check
from crossfade.stats.counts import Cell, Events
from crossfade.stats.streams import MEASURES, STREAM_BROKEN, Streams, StreamValues

MIN_STREAMS = 200  # streams of the champion before its quantiles are used as limits


class StreamLimit(NamedTuple):
    """The value of each side beyond which a stream counts; `champion` is 0 where the limit is absolute."""

    challenger: float
    champion: float


def stream_kinds(checks: Iterable[Check]) -> list[str]:
    """The kinds of events that these checks count of streams."""
    return [check.event for check in checks if check.metric in (*MEASURES, STREAM_BROKEN)]


def fixed_limits(
    known: Mapping[str, StreamLimit], champion: Streams, checks: Iterable[Check], renew: bool
) -> dict[str, StreamLimit]:
    """By kind. A quantile of the champion is fixed when it has MIN_STREAMS values, and again where `renew`."""
    out: dict[str, StreamLimit] = {}
    for check in checks:
        if check.metric not in MEASURES:
            continue
        if not check.bound.endswith("ratio"):
            out[check.event] = StreamLimit(check.limit, check.limit)
        elif check.event in known and not renew:
            out[check.event] = known[check.event]
        elif champion.values(check.metric).count >= MIN_STREAMS:
            value = champion.values(check.metric).quantile(check.quantile or 0.0) or 0.0
            out[check.event] = StreamLimit(value * check.limit, value)
    return out


def with_stream_events(
    cell: Cell, checks: Iterable[Check], limits: Mapping[str, StreamLimit], challenger: bool
) -> Cell:
    """A copy of the cell with the events of its streams."""
    values = cell.stream_values
    if not values:
        return cell
    events = dict(cell.events)
    for check in checks:
        if check.metric == STREAM_BROKEN:
            events[check.event] = _events_of([(v.key, v.broken) for v in values])
        elif check.event in limits:
            limit = limits[check.event][0 if challenger else 1]
            events[check.event] = _events_of(_beyond(check, values, limit))
    return replace(cell, events=events)


def _beyond(check: Check, values: Sequence[StreamValues], limit: float) -> list[tuple[int | None, bool]]:
    is_beyond: Callable[[float], bool] = (
        (lambda value: value < limit) if check.is_least else (lambda value: value > limit)
    )
    found = ((v.key, v.value(check.metric)) for v in values)
    return [(key, is_beyond(value)) for key, value in found if value is not None]


def _events_of(found: Sequence[tuple[int | None, bool]]) -> Events:
    keys = [key for key, beyond in found if beyond and key is not None]
    unkeyed = sum(beyond and key is None for key, beyond in found)
    return Events(unkeyed, len(keys), 0, keys, len(found))
