"""The summary for those who do not operate: which model is in charge since when, what the last change brought, how well it serves.

Rule: pure. Numbers are of whole days (UTC), as the history keeps them, and of today so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from crossfade.control.decision_marks import IN_STEPS, Kpi, Mark
from crossfade.control.history_file import DaySums, SumsBy
from crossfade.control.history_points import COUNTED, LIVE, SEPARATOR
from crossfade.scale import LATENCY_TARGETS
from crossfade.stats.histogram import Histogram, bucket_of

CAME_IN_CHARGE = ("promote", "rollback")
CHANGES = ("promote", "abort", "rollback", "split")  # the last change is one of these


class LastChange(msgspec.Struct):
    """`kpi`: what the first check of a number said when it was made; null where there was none."""

    at: float
    action: str
    reason: str
    kpi: Kpi | None


class LatencySummary(msgspec.Struct):
    """`class`: of the route's `slo`, with its `target` for the p99; null without one. `met_share`: requests within the target. Seconds."""

    class_: str | None = msgspec.field(name="class")
    target: float | None
    p99: float | None
    met_share: float | None


class SummaryRow(msgspec.Struct):
    """`since`: when the champion came in charge, wall time; null where the journal does not say. `availability`: the share of requests
    that were answered without an error, also by a fallback; null without requests. `exposures`: how often a challenger got its first
    traffic. Counts are of the days that were asked for.
    """

    route: str
    champion: str | None
    since: float | None
    last_change: LastChange | None
    availability: float | None
    requests: int
    errors: int
    latency: LatencySummary
    exposures: int
    aborts: int
    rollbacks: int
    promotions: int


class Summary(msgspec.Struct):
    """`since`: the beginning of the first day."""

    days: int
    since: float
    until: float
    routes: list[SummaryRow]


def summary_row(
    route: str,
    champion: str | None,
    slo: str | None,
    marks: Sequence[Mark],
    sums: SumsBy,
    since: float,
) -> SummaryRow:
    """`marks`: all of the route, in order; `sums`: from `since` on, by series."""
    total = _total(sums)
    counts = dict(zip(COUNTED, total.counts, strict=True))
    answered = counts["requests"] - counts["abandoned"]
    failed = max(counts["errors"] - counts["fell_back"], 0.0)
    actions = [mark.action for mark in marks if mark.at >= since]
    return SummaryRow(
        route=route,
        champion=champion,
        since=in_charge_since(champion, marks),
        last_change=_last_change(marks),
        availability=1 - failed / answered if answered > 0 else None,
        requests=round(counts["requests"]),
        errors=round(counts["errors"]),
        latency=_latency(slo, total.durations),
        exposures=actions.count("begin"),
        aborts=actions.count("abort"),
        rollbacks=actions.count("rollback"),
        promotions=actions.count("promote"),
    )


def _total(sums: Mapping[str, DaySums]) -> DaySums:
    """Of requests; copies to a shadow serve nobody."""
    out = DaySums([0.0] * len(COUNTED), Histogram())
    for of, each in sums.items():
        if of.partition(SEPARATOR)[0] == LIVE:
            out.add(each)
    return out


def _latency(slo: str | None, durations: Histogram) -> LatencySummary:
    target = None if slo is None else LATENCY_TARGETS[slo]
    met = None
    if target is not None and durations.count:
        met = 1 - durations.above(bucket_of(target)) / durations.count
    return LatencySummary(slo, target, durations.quantile(0.99), met)


def in_charge_since(champion: str | None, marks: Sequence[Mark]) -> float | None:
    """The last decision by which it came in charge. Steps of a rollout put nobody in charge, however large they are."""
    for mark in reversed(marks):
        if mark.action in IN_STEPS:
            continue
        if mark.leader not in (champion, ""):
            return None
        is_new = mark.before != champion and (mark.before or mark is marks[0])
        if mark.leader == champion and (is_new or mark.action in CAME_IN_CHARGE):
            return mark.at
    return None


def _last_change(marks: Sequence[Mark]) -> LastChange | None:
    for mark in reversed(marks):
        if mark.action in CHANGES:
            return LastChange(mark.at, mark.action, mark.reason, mark.kpi)
    return None
