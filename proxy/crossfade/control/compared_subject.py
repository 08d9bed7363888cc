"""Which comparison of a route is asked for, and what the configuration says of it: names of segments, threshold, limits."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.config.model import RouteConfig
from crossfade.control.comparisons import Comparison
from crossfade.control.refusal import Refused, UnknownName
from crossfade.quality.comparison_summary import Subject
from crossfade.quality.prediction import SegmentSource
from crossfade.quality.table import ComparisonTable
from crossfade.rollout.plan import Check


def chosen(route: str, held: Sequence[Comparison], challenger: str | None) -> Comparison:
    """The comparison of this challenger; where the route has only one, no name is needed."""
    if not held:
        raise UnknownName(f"nothing is compared on route {route}")
    names = ", ".join(sorted(each.challenger for each in held))
    if challenger is None and len(held) > 1:
        raise Refused(f"route {route} has several comparisons; say which challenger: {names}")
    found = next((each for each in held if challenger in (None, each.challenger)), None)
    if found is None:
        raise UnknownName(f"{challenger} is not compared on route {route}; there is {names}")
    return found


def subject_of(found: Comparison, config: RouteConfig, checks: Sequence[Check]) -> Subject:
    prediction = config.prediction
    return Subject(
        route=found.route,
        champion=found.champion,
        challenger=found.challenger,
        since=found.since,
        until=found.until,
        sources=[]
        if prediction is None
        else [SegmentSource(s.kind, s.name).title for s in prediction.segment],
        threshold=None if prediction is None else prediction.decision,
        changed_limit=_limit_of(checks, "disagreement"),
        distance_limit=_limit_of(checks, "distance"),
        segment_limit=_limit_of(checks, "segment_divergence"),
    )


def copy_of(table: ComparisonTable) -> ComparisonTable:
    """One that does not change while another thread reads it."""
    out = ComparisonTable()
    out.merge(table)
    return out


def _limit_of(checks: Sequence[Check], metric: str) -> float | None:
    return min(
        (check.limit for check in checks if (check.metric, check.bound) == (metric, "max")), default=None
    )
