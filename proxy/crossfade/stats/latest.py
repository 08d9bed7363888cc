"""How much the latest part of the evidence speaks against the challenger, for a PASS: the largest of many parts.

For each alternative it takes the part since the mark, out of all, after which the likelihood ratio is largest (the CUSUM of Page, 1954),
and then the mean over the alternatives. So it is at least the log e-value of the part since any one mark.

Rule: it is no e-value, as the mark is chosen afterwards, so it decides no FAIL. It withholds a PASS until the next requests show
whether a fault has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf

from crossfade.stats.differences import increase_logs
from crossfade.stats.restarts import Marks
from crossfade.stats.sequential import POINTS, Logs, SplitCounts, above_logs, log_mean_exp, ratio_logs

_CACHED = 2048
_NO_MARK = [inf] * POINTS
_NOTHING = [-inf] * POINTS


def log_e_worse_latest(strata: Sequence[SplitCounts], d0: float, marks: Sequence[Marks]) -> float:
    """Of `log_e_worse`; `marks`: for each stratum, its counts at each mark."""
    return _latest([ratio_logs(counts, d0, 1) for counts in strata], [_least_worse(m, d0) for m in marks])


def log_e_above_latest(strata: Sequence[SplitCounts], p0: float, marks: Sequence[Marks]) -> float:
    """Of `log_e_above` of `here` among `n`."""
    return _latest([above_logs(c.here, c.n, p0) for c in strata], [_least_above(m, p0) for m in marks])


def log_e_increase_latest(strata: Sequence[SplitCounts], margin: float, marks: Sequence[Marks]) -> float:
    """Of `log_e_increase`."""
    logs = [increase_logs(counts, margin) for counts in strata]
    return _latest(logs, [_least_increase(m, margin) for m in marks])


def _latest(strata: Sequence[Logs], least: Sequence[Logs]) -> float:
    """`least`: for each stratum and alternative, the least log likelihood ratio at a mark of it.

    A stratum begins at a mark too, except the first: all of the evidence is no part of it.
    """
    since, later = _NOTHING, [0.0] * POINTS  # the largest since a mark; the later strata
    for logs, low in zip(reversed(strata), reversed(least), strict=True):
        if since is not _NOTHING:  # the stratum behind begins here
            since = list(map(max, since, later))
        here = [now - least_log for now, least_log in zip(logs, low, strict=True)]
        # The last stratum is mostly the only one, so nothing is added to it.
        since = (
            here if since is _NOTHING else [max(s, b + h) for s, b, h in zip(since, later, here, strict=True)]
        )
        later = logs if logs is strata[-1] else [b + now for b, now in zip(later, logs, strict=True)]
    return log_mean_exp(since) if since[0] > -inf else -inf


def _least(marks: Marks, logs: Callable[[SplitCounts], Logs]) -> Logs:
    return [min(column) for column in zip(_NO_MARK, *map(logs, marks), strict=True)]


# Marks change seldom, and a verdict is asked for several times a second.
@lru_cache(_CACHED)
def _least_worse(marks: Marks, d0: float) -> Logs:
    return _least(marks, lambda counts: ratio_logs(counts, d0, 1))


@lru_cache(_CACHED)
def _least_above(marks: Marks, p0: float) -> Logs:
    return _least(marks, lambda counts: above_logs(counts.here, counts.n, p0))


@lru_cache(_CACHED)
def _least_increase(marks: Marks, margin: float) -> Logs:
    return _least(marks, lambda counts: increase_logs(counts, margin))
