"""Means of numbers with a declared range: exact tests, valid at every look, from counts by level.

Rule: a number is moved into the range, scaled to f in 0 to 1, and rounded up or down to a level k/K at random, so that the mean
of the level is f. Counts by level are integers, so merging is addition. With A = 1 on the side under test, w the probability
of that, and c fixed before,

    Z = (A − w)(f − c) − w(1 − w)m     has mean     w(1 − w)(f_here − f_rest − m)

so Π(1 + λZ) is a bet against "the mean is at most m higher here", as in `differences` (Waudby-Smith & Ramdas, JRSS-B 2024).
No tail is too heavy for it, because the range cuts it off: unequal tails move the mean of what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import fsum, log1p
from typing import NamedTuple

from crossfade.stats.differences import STAKES
from crossfade.stats.sequential import CACHED, Logs, log_mean_exp

LEVELS = 64  # K; levels are 0 to K
_MIX, _BITS = 0x9E3779B97F4A7C15, 64


class SplitLevels(NamedTuple):
    """Units of one stratum by level, on the side under test and on the other; both have the same number of levels.

    `share`: the probability with which a unit went to the side under test, between 0 and 1.
    """

    share: float
    here: Sequence[int]
    rest: Sequence[int]


def level_of(value: float, low: float, high: float, toss: float) -> int:
    """The level of a number; `toss` in 0 to 1 rounds it, and must not depend on the side. low < high."""
    scaled = min(max((value - low) / (high - low), 0.0), 1.0) * LEVELS
    whole = int(scaled)
    return whole + (toss < scaled - whole)


def toss_of(unit: int, n: int) -> float:
    """A number in 0 to 1 that looks random and is always the same for the n-th number of this unit (SplitMix64)."""
    mask = (1 << _BITS) - 1
    x = (unit + (n + 1) * _MIX) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)


def flipped(strata: Iterable[SplitLevels]) -> list[SplitLevels]:
    """Each level k as K − k: a test of "higher here" becomes one of "lower here", with 1 − c and −m."""
    return [SplitLevels(share, here[::-1], rest[::-1]) for share, here, rest in strata]


def log_e_level_increase(strata: Iterable[SplitLevels], centre: float, margin: float) -> float:
    """Log e-value against "the mean of f is at most `margin` higher here"; 0 for a margin that no f can exceed.

    `centre`: c, in 0 to 1, known beforehand; a wrong one costs power, not validity.
    """
    if not -1 < margin < 1:
        return 0.0
    logs = [0.0] * len(STAKES)
    for share, here, rest in strata:
        for j, (ours, theirs) in enumerate(_increase_factors(share, centre, margin, len(here))):
            logs[j] += _sum_product(here, ours) + _sum_product(rest, theirs)
    return log_mean_exp(logs)


def log_e_level_above(levels: Sequence[int], limit: float) -> float:
    """Log e-value against "the mean of f is at most `limit`", of independent units of one side; 0 unless 0 < limit < 1."""
    return log_mean_exp(level_above_logs(levels, limit))


def level_above_logs(levels: Sequence[int], limit: float) -> Logs:
    """Log wealth for each stake of `log_e_level_above`."""
    if not 0 < limit < 1:
        return [0.0] * len(STAKES)
    return [_sum_product(levels, terms) for terms in _above_factors(limit, len(levels))]


def _sum_product(counts: Sequence[int], terms: Sequence[float]) -> float:
    return fsum([n * term for n, term in zip(counts, terms, strict=True) if n])


@lru_cache(CACHED)
def _increase_factors(
    share: float, centre: float, margin: float, levels: int
) -> tuple[tuple[Logs, Logs], ...]:
    """Log factors of each level here and on the other side, for each stake: 1 % to 95 % of what keeps them positive."""
    drift = share * (1 - share) * margin
    scale = [k / (levels - 1) for k in range(levels)]
    ours = [(1 - share) * (f - centre) - drift for f in scale]
    theirs = [-share * (f - centre) - drift for f in scale]
    lowest = -min(*ours, *theirs)
    if lowest <= 0:  # by rounding only, where nothing could be won
        return ((([0.0] * levels), ([0.0] * levels)),) * len(STAKES)
    return tuple(
        ([log1p(t * (z / lowest)) for z in ours], [log1p(t * (z / lowest)) for z in theirs]) for t in STAKES
    )


@lru_cache(CACHED)
def _above_factors(limit: float, levels: int) -> tuple[Logs, ...]:
    scale = [k / (levels - 1) for k in range(levels)]
    return tuple([log1p(t * (f / limit - 1)) for f in scale] for t in STAKES)
