"""Builders of cells, checks and evidence for tests."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from crossfade.config.model import CheckConfig
from crossfade.rollout import evidence as rollout_evidence
from crossfade.rollout.evidence import Evidence, fix_limits
from crossfade.rollout.feeding import feed
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Portion, Ripe
from crossfade.rollout.strategy import check_of
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.histogram import bucket_of

CONTEXT = CheckContext(step=0, min_requests=100, alpha=0.002, whole=0.01)


def check(metric: str, **bounds) -> Check:
    return check_of(CheckConfig.model_validate({"metric": metric, **bounds}))


def cell(
    backend: str,
    requests: int,
    errors: int = 0,
    version: int = 2,
    times: Iterable[float] | None = None,
    role: str = "challenger",
) -> Cell:
    made = Cell("r", backend, role, version, requests=requests, errors=errors)
    for seconds in [0.02] * requests if times is None else times:
        made.duration.add(seconds)
    return made


def gather(made: Evidence, cells: Iterable[Cell], checks: Iterable[Check]) -> None:
    """Add one tick. Slow answers are counted as workers do, with the limits fixed by the tick before."""
    cells = tuple(cells)
    for one in cells:
        side = 0 if one.backend == made.challenger else 1
        slow = {
            title: one.duration.above(bucket_of(limit[side] * 0.999)) for title, limit in made.limits.items()
        }
        kept = {kind: events for kind, events in one.events.items() if kind == ERROR}
        one.events = kept | {title: Events(unkeyed=n) for title, n in slow.items() if n}
    rollout_evidence.gather(made, cells, checks)


def evidence(*cells: Cell, share: float = 0.1, checks: Iterable[Check] = ()) -> Evidence:
    """Evidence of one stratum: ledger version 2, step 0."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, share)
    fix_limits(made, checks)
    gather(made, cells, checks)
    return made


def ripened(made: Evidence, *rows: Iterable[Ripe], checks: Iterable[Check]) -> None:
    """Add ripe predictions, those of the first iterable first."""
    start = made.fed_to
    numbered = [row._replace(seq=start + i) for i, row in enumerate(chain(*rows), 1)]
    feed(made, Portion(start, start + len(numbered), numbered), checks)
