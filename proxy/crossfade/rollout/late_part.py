"""The part of the evidence that speaks loudest: all of it, or what came since one of the marks.

A test that is restarted at marks (stats.restarts) finds a late change that the average over the step hides. The reason
of its FAIL must show the numbers of that part, not the average, which may still keep the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from crossfade.rollout.evidence import latest_counts, split_counts
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict_rule import Share
from crossfade.stats.latest import log_e_above_latest, log_e_worse_latest
from crossfade.stats.restarts import Marks
from crossfade.stats.sequential import SplitCounts, bound, log_e_above_all

LogE = Callable[[Sequence[SplitCounts]], float]
# Chosen by simulation: a healthy challenger seldom reaches it, and a late fault soon does (docs/statistics.md).
LATE_BOUND = bound(0.3)
# Where the first event of each key counts, all keys of the champion may have had theirs before the late part, as more of its
# requests are above the threshold of a latency check than of an equal challenger's. The late part is then the challenger's alone.
LATE_BOUND_OF_KEYS = bound(0.1)


class LatePart(NamedTuple):
    """Events and requests of (challenger, champion)."""

    here: Share
    rest: Share


def loudest_part(strata: Sequence[SplitCounts], marks: Sequence[Marks], log_e: LogE) -> LatePart:
    """`marks`: for each stratum, its counts at each mark; `log_e`: of the test without restarts."""
    return _part([list(strata), *_since_marks(strata, marks)], log_e)


def _since_marks(strata: Sequence[SplitCounts], marks: Sequence[Marks]) -> list[list[SplitCounts]]:
    out = []
    for i, counts in enumerate(strata):
        later = list(strata[i + 1 :])
        out += [[_since(counts, mark), *later] for mark in marks[i]]
    return out


def _part(starts: Sequence[Sequence[SplitCounts]], log_e: LogE) -> LatePart:
    part = max(starts, key=log_e)
    return LatePart(
        Share(sum(c.here for c in part), sum(c.n for c in part)),
        Share(sum(c.rest for c in part), sum(c.rest_n for c in part)),
    )


def late_words(strata: Sequence[Stratum], kind: str, latest: float, log_e: LogE, verb: str) -> str:
    """Why the latest part withholds a PASS, or nothing if it does not. `latest`: of stats.latest; `verb`: as `failed`."""
    if latest < late_bound(strata):
        return ""
    counts, marks = split_counts(strata, kind), latest_counts(strata, kind)
    part = _part([*_since_marks(counts, marks), *(counts[i:] for i in range(1, len(counts)))], log_e)
    beside = f", against {part.rest.x} of the champion's {part.rest.n}" if part.rest.n else ""
    return (
        f"but {part.here.x} of the latest {part.here.n} requests {verb}{beside}: a fault may have begun, so it takes more "
        "requests to pass"
    )


def late_bound(strata: Sequence[Stratum]) -> float:
    keyed = any(s.keys.challenger.sizes.keys or s.keys.champion.sizes.keys for s in strata)
    return LATE_BOUND_OF_KEYS if keyed else LATE_BOUND


def late_words_above(strata: Sequence[Stratum], kind: str, p0: float, verb: str) -> str:
    """`late_words` for a limit `p0` of the challenger's share. What comes late on both sides withholds nothing."""
    counts, marks = split_counts(strata, kind), latest_counts(strata, kind)
    latest = log_e_above_latest(counts, p0, marks)
    compared = [s for s in strata if s.compares]
    if compared and latest >= late_bound(strata):
        worse = log_e_worse_latest(split_counts(compared, kind), 1.0, latest_counts(compared, kind))
        latest = min(latest, worse)
    return late_words(strata, kind, latest, lambda some: log_e_above_all(some, p0), verb)


def _since(counts: SplitCounts, mark: SplitCounts) -> SplitCounts:
    return SplitCounts(
        counts.share,
        counts.here - mark.here,
        counts.rest - mark.rest,
        counts.n - mark.n,
        counts.rest_n - mark.rest_n,
    )
