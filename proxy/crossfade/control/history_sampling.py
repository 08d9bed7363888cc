"""Samples for the history: what the control plane counts and knows, every ten seconds.

Rule: the event loop only takes copies of what has changed; what takes time is done in the thread of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossfade.control.controller_state import ControllerState
from crossfade.control.history_points import (
    COPIES,
    COUNTED,
    LIVE,
    SECONDS,
    Point,
    column,
    quantiles,
    series,
)
from crossfade.rollout.verdict import Finding
from crossfade.routing.snapshot import OWN
from crossfade.scale import WHOLE
from crossfade.stats.counts import SHADOW, Cell

CellPlace = tuple[str, str, str]  # route, backend, role


class Counted(NamedTuple):
    """Totals of one cell since the start: `counts` in the order of COUNTED, and durations by bucket."""

    place: CellPlace
    counts: tuple[int, ...]
    buckets: dict[int, int]


class KnownRoute(NamedTuple):
    """`weights` out of 10 000, also of backends that have a role and nothing else; `findings` by challenger, of rollouts under way."""

    name: str
    weights: dict[str, int]
    findings: Sequence[tuple[str, Sequence[Finding]]]


class Taken(NamedTuple):
    """`at`: the beginning of the stretch, seconds since 1970; `seconds`: how long it was."""

    at: int
    seconds: float
    counted: list[Counted]
    routes: list[KnownRoute]


class Taking:
    """In the event loop. `seen`: the requests of each cell at the last sample; cells without new ones are left out."""

    def __init__(self) -> None:
        self.seen: dict[CellPlace, tuple[int, ...]] = {}

    def take(self, state: ControllerState, at: int, seconds: float) -> Taken:
        counted = []
        for cell in state.totals.cells.values():
            place, counts = (cell.route, cell.backend, cell.role), _counts(cell)
            if cell.backend != OWN and counts != self.seen.get(place):
                self.seen[place] = counts
                counted.append(Counted(place, counts, dict(cell.duration.buckets)))
        routes = [
            KnownRoute(
                route.name,
                dict.fromkeys(route.roles, 0) | route.record.ledger.weights,
                [(name, r.verdicts) for name, r in route.rollouts.items() if r.state.is_guarded],
            )
            for route in state.routes.values()
        ]
        return Taken(at, seconds, counted, routes)


def _counts(cell: Cell) -> tuple[int, ...]:
    return cell.requests, cell.errors, cell.abandoned, cell.fell_back


class Differences:
    """In the thread: from totals since the start to what came since the sample before."""

    def __init__(self) -> None:
        self.before: dict[CellPlace, Counted] = {}

    def points(self, taken: Taken) -> dict[str, Point]:
        """By route."""
        out = {route.name: Point(_known(route, taken.seconds), {}) for route in taken.routes}
        for now in taken.counted:
            route, backend, role = now.place
            of = series(COPIES if role == SHADOW else LIVE, backend)
            before = self.before.get(now.place)
            self.before[now.place] = now
            if route in out:
                _add(out[route], of, now, before)
        for point in out.values():
            for of, buckets in point.durations.items():
                point.values |= quantiles(of, buckets)
        return out


def _add(point: Point, of: str, now: Counted, before: Counted | None) -> None:
    """Totals that fell begin anew: the route was away meanwhile."""
    if before is None or now.counts[0] < before.counts[0]:
        before = Counted(now.place, (0,) * len(COUNTED), {})
    for field, n, was in zip(COUNTED, now.counts, before.counts, strict=True):
        name = column(field, of)
        point.values[name] = point.values.get(name, 0.0) + max(n - was, 0)
    buckets = point.durations.setdefault(of, {})
    for bucket, n in now.buckets.items():
        more = n - before.buckets.get(bucket, 0)
        if more > 0:
            buckets[bucket] = buckets.get(bucket, 0) + more


def _known(route: KnownRoute, seconds: float) -> dict[str, float]:
    out = {SECONDS: seconds}
    for name, weight in route.weights.items():
        out[column("weight", series(LIVE, name))] = weight / WHOLE
        if weight:
            out[column("requests", series(LIVE, name))] = 0.0
    for challenger, findings in route.findings:
        for finding in findings:
            low, high = finding.interval or (None, None)
            numbers = (finding.evidence, finding.bound, finding.estimate, low, high)
            for field, number in zip(("evidence", "bound", "estimate", "low", "high"), numbers, strict=True):
                if number is not None:
                    out[column(field, challenger, finding.check)] = float(number)
    return out
