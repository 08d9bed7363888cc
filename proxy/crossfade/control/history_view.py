"""The history of a route as an answer: at which resolution, and the lists that a page plots.

Rule: pure. All lists have the length of `at`, and null stands for what is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil, isfinite

import msgspec

from crossfade.control.decision_marks import DecisionMark
from crossfade.control.history_points import (
    COPIES,
    LEVELS,
    LIVE,
    SECONDS,
    SEPARATOR,
    Level,
    Point,
    by_step,
    column,
    series,
)

Row = list[float | None]


class CopiesHistory(msgspec.Struct):
    """`requests` a second; `errors`: the share of answered ones; `p50` and `p99` in seconds."""

    requests: Row
    errors: Row
    p50: Row
    p99: Row


class BackendHistory(CopiesHistory):
    """`weight`: a fraction."""

    weight: Row


class CheckHistory(msgspec.Struct):
    """`evidence` and `bound`: log e-values; `estimate`, with its interval from `low` to `high`, as the check's verdict has it."""

    evidence: Row
    bound: Row
    estimate: Row
    low: Row
    high: Row


class HistoryView(msgspec.Struct):
    """`at`: when each of the stretches of `step` seconds begins, seconds since 1970. `mirrored`: copies, by the backend that got them.

    `checks`: by challenger and check. `decisions`: the latest 500 of this time.
    """

    route: str
    since: int
    until: int
    step: int
    at: list[int]
    backends: dict[str, BackendHistory]
    mirrored: dict[str, CopiesHistory]
    checks: dict[str, dict[str, CheckHistory]]
    decisions: list[DecisionMark]


def resolution(since: int, until: int, points: int, now: float) -> tuple[Level, int]:
    """The level that still has `since`, and the step in seconds by which no more than `points` are shown.

    A coarser level is taken where its points are as good.
    """
    span = until - since
    kept = [level for level in LEVELS if since >= now - level.keep] or [LEVELS[-1]]
    for level, coarser in pairwise(kept):
        step = level.step * ceil(span / (level.step * points))
        if step < coarser.step:
            return level, step
    return kept[-1], kept[-1].step * max(ceil(span / (kept[-1].step * points)), 1)


def history_view(
    route: str,
    times: tuple[int, int, int],
    found: Mapping[int, Point],
    decisions: list[DecisionMark],
) -> HistoryView:
    """`times`: since, until and step."""
    since, until, step = times
    at = list(range(since - since % step, until, step))
    points = by_step(found, step)
    rows = [points[when].values if when in points else {} for when in at]
    subjects = _subjects(rows)
    checks: dict[str, dict[str, CheckHistory]] = {}
    for challenger, check in subjects["evidence"]:
        checks.setdefault(challenger, {})[check] = _check(rows, challenger, check)
    return HistoryView(
        route,
        since,
        until,
        step,
        at,
        {name: _backend(rows, name) for kind, name in subjects["weight"] if kind == LIVE},
        {
            name: CopiesHistory(*_copies(rows, series(COPIES, name)))
            for kind, name in subjects["requests"]
            if kind == COPIES
        },
        checks,
        decisions,
    )


def _subjects(rows: Iterable[Mapping[str, float]]) -> dict[str, list[tuple[str, str]]]:
    """By field, what columns are about, in order; `evidence` stands for all fields of a check."""
    names = {name for row in rows for name in row if name != SECONDS}
    out: dict[str, set[tuple[str, str]]] = {"weight": set(), "requests": set(), "evidence": set()}
    for name in names:
        field, kind, subject = name.split(SEPARATOR, 2)
        if field in CheckHistory.__struct_fields__:
            out["evidence"].add((kind, subject))
        elif field in out:
            out[field].add((kind, subject))
    return {field: sorted(found) for field, found in out.items()}


def _backend(rows: Sequence[Mapping[str, float]], name: str) -> BackendHistory:
    of = series(LIVE, name)
    return BackendHistory(*_copies(rows, of), weight=_row(rows, column("weight", of)))


def _copies(rows: Sequence[Mapping[str, float]], of: str) -> tuple[Row, Row, Row, Row]:
    rates: Row = []
    shares: Row = []
    for row in rows:
        requests, seconds = row.get(column("requests", of)), row.get(SECONDS)
        rates.append(_short(requests / seconds) if requests is not None and seconds else None)
        answered = (requests or 0.0) - row.get(column("abandoned", of), 0.0)
        shares.append(_short(row.get(column("errors", of), 0.0) / answered) if answered > 0 else None)
    return rates, shares, _row(rows, column("p50", of)), _row(rows, column("p99", of))


def _check(rows: Sequence[Mapping[str, float]], challenger: str, check: str) -> CheckHistory:
    return CheckHistory(
        *(_row(rows, column(field, challenger, check)) for field in CheckHistory.__struct_fields__)
    )


def _row(rows: Sequence[Mapping[str, float]], name: str) -> Row:
    return [_short(row.get(name)) for row in rows]


def _short(number: float | None) -> float | None:
    """With four digits, as it is stored."""
    return None if number is None or not isfinite(number) else float(f"{number:.4g}")
