"""The part of the evidence that speaks loudest: all of it, or what came since one of the marks.

A test that is restarted at marks (stats.restarts) finds a late change that the average over the step hides. The reason
of its FAIL must show the numbers of that part, not the average, which may still keep the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from crossfade.rollout.verdict_rule import Share
from crossfade.stats.restarts import Marks
from crossfade.stats.sequential import SplitCounts, above_logs, log_mean_exp, sum_logs

LogE = Callable[[Sequence[SplitCounts]], float]


class LatePart(NamedTuple):
    """Events and requests of (challenger, champion)."""

    here: Share
    rest: Share


def loudest_part(strata: Sequence[SplitCounts], marks: Sequence[Marks], log_e: LogE) -> LatePart:
    """`marks`: for each stratum, its counts at each mark; `log_e`: of the test without restarts."""
    starts: list[list[SplitCounts]] = [list(strata)]
    for i, counts in enumerate(strata):
        later = list(strata[i + 1 :])
        starts += [[_since(counts, mark), *later] for mark in marks[i]]
    part = max(starts, key=log_e)
    return LatePart(
        Share(sum(c.here for c in part), sum(c.n for c in part)),
        Share(sum(c.rest for c in part), sum(c.rest_n for c in part)),
    )


def log_e_above_all(strata: Sequence[SplitCounts], p0: float) -> float:
    """The one-sample test of the challenger's events over all strata."""
    return log_mean_exp(sum_logs(above_logs(c.here, c.n, p0) for c in strata))


def _since(counts: SplitCounts, mark: SplitCounts) -> SplitCounts:
    return SplitCounts(
        counts.share,
        counts.here - mark.here,
        counts.rest - mark.rest,
        counts.n - mark.n,
        counts.rest_n - mark.rest_n,
    )
