"""Distances of pairs of answers: how far the challenger's answers are from the champion's, beyond the champion's from itself.

Rule: a distance d in 0 to 1 is rounded up or down to a level k/K at random, so that the mean of the level is d, as in `bounded`.
Counts by level are integers, so merging is addition. The champion is asked twice with known probability ν (B = 1 if it is), as
in `pairs`; e is then the distance of its two answers. So with a margin m

    Z = d − B·e/ν − m     has mean     mean(d) − mean(e) − m

and Π(1 + λZ) is a bet against "the mean distance is at most m more than the champion's own", valid at every look; the same with
−Z is a bet against "at least m more". The interval has each margin that neither bet refutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import fsum, log1p
from operator import mul

import msgspec

from crossfade.stats.bounded import LEVELS, level_of
from crossfade.stats.differences import STAKES
from crossfade.stats.means import mixture_boundary, mixture_rho
from crossfade.stats.sequential import bound, log_mean_exp
from crossfade.stats.sums import add_up

_WIDTH = LEVELS + 1
_PRECISION = 1e-4  # of the ends of an interval
_CHANCE_DIGITS = 9  # of ν, which is a sum of as many equal numbers as there are pairs
_CACHED = 64  # pairs of ν and margin
_PLANNED = 1000 * 0.15**2  # the variance of a thousand pairs, for which an interval is narrowest


def distance_level(distance: float, toss: float) -> int:
    """`toss` in 0 to 1 rounds it, and must not depend on the answers."""
    return level_of(distance, 0.0, 1.0, toss)


class Distances(msgspec.Struct, omit_defaults=True):
    """`counts`: by the challenger's level · (K + 1) + the champion's own level, which is 0 if it was not asked twice.

    `chances`: the sum over all pairs of the probability that the champion is asked twice. `twice`: how often it was.
    """

    counts: dict[int, int] = msgspec.field(default_factory=dict)
    chances: float = 0.0
    twice: int = 0

    def add(self, level: int | None, noise: int | None, chance: float) -> None:
        if level is None:
            return
        add_up(self.counts, {level * _WIDTH + (noise or 0): 1})
        self.chances += chance
        self.twice += noise is not None

    def merge(self, other: Distances) -> None:
        add_up(self.counts, other.counts)
        self.chances += other.chances
        self.twice += other.twice

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    @property
    def chance(self) -> float:
        n = self.n
        return self.chances / n if n else 0.0

    @property
    def mean(self) -> float:
        """Of the challenger's answers."""
        n = self.n
        return (
            sum(count * (code // _WIDTH) for code, count in self.counts.items()) / (n * LEVELS) if n else 0.0
        )

    @property
    def noise(self) -> float:
        """The mean of the champion's own distances; 0 if it was never asked twice."""
        total = sum(count * (code % _WIDTH) for code, count in self.counts.items())
        return total / (self.twice * LEVELS) if self.twice else 0.0

    def payoffs(self) -> list[tuple[int, float]]:
        """(pairs, d − B·e/ν) for each combination of levels."""
        chance = self.chance
        return [
            (count, (code // _WIDTH - (code % _WIDTH) / chance) / LEVELS)
            for code, count in sorted(self.counts.items())
        ]


def log_e_distance(distances: Distances, margin: float) -> float:
    """Log e-value against "the mean distance is at most `margin` more than the champion's own"; 0 if ν = 0."""
    return log_mean_exp(_log_wealth(distances, margin)) if distances.chance > 0 else 0.0


def gain_distance(distances: Distances, margin: float) -> float:
    """Expected growth of the log e-value in nats per pair, at the present distances and the best stake; 0 if there is none."""
    return max(0.0, *_log_wealth(distances, margin)) / distances.n if distances.chance > 0 else 0.0


def _log_wealth(distances: Distances, margin: float) -> list[float]:
    """For each stake. Logarithms of a combination of levels are computed once, since a check is evaluated again and again."""
    chance = round(distances.chance, _CHANCE_DIGITS)
    known = _known_factors(chance, margin)
    codes = sorted(distances.counts)
    for code in codes:
        if code not in known:
            z = (code // _WIDTH - (code % _WIDTH) / chance) / LEVELS - margin
            known[code] = tuple([log1p(stake * z / (1 / chance + margin)) for stake in STAKES])
    counts = [distances.counts[code] for code in codes]
    return [fsum(map(mul, counts, column)) for column in zip(*[known[code] for code in codes], strict=True)]


@lru_cache(_CACHED)
def _known_factors(chance: float, margin: float) -> dict[int, tuple[float, ...]]:
    """By code of a combination of levels: its log factor for each stake. Filled by the caller."""
    return {}


def mixed_interval(distances: Distances, alpha: float) -> tuple[float, float]:
    """As `distance_interval`, in the limit of many pairs (`means`), and at a hundredth of its cost.

    The variance is taken as if one more pair had been 1 and one −1/ν: rare second answers that did not come yet would be
    missed otherwise.
    """
    chance, n = distances.chance, distances.n
    if chance <= 0:
        return -1.0, 1.0
    payoffs = distances.payoffs()
    mean = fsum([count * z for count, z in payoffs]) / n
    v = fsum([count * (z - mean) ** 2 for count, z in payoffs]) + 1 + 1 / chance**2
    half = mixture_boundary(v, mixture_rho(_PLANNED, alpha), alpha) / n
    return max(mean - half, -1.0), min(mean + half, 1.0)


def distance_interval(distances: Distances, alpha: float) -> tuple[float, float]:
    """Confidence sequence of the mean excess over the champion's own distance: it covers it at all looks together, with 1 − alpha.

    From −1 to 1 while nothing is known.
    """
    chance = distances.chance
    if chance <= 0:
        return -1.0, 1.0
    payoffs, limit = distances.payoffs(), bound(alpha / 2)

    def is_more(margin: float) -> bool:
        return log_mean_exp(_logs(payoffs, margin, 1.0, 1 / chance + margin)) >= limit

    def is_less(margin: float) -> bool:
        return log_mean_exp(_logs(payoffs, margin, -1.0, 1 - margin)) >= limit

    return _largest_where(is_more), -_largest_where(lambda margin: is_less(-margin))


def _logs(payoffs: Iterable[tuple[int, float]], margin: float, sign: float, largest: float) -> list[float]:
    """The log wealth for each stake; `largest`: the largest loss of one pair."""
    moved = [(n, sign * (payoff - margin) / largest) for n, payoff in payoffs]
    return [fsum([n * log1p(stake * z) for n, z in moved]) for stake in STAKES]


def _largest_where(holds: Callable[[float], bool]) -> float:
    """The largest margin in −1 to 1 at which a statement holds that holds for all smaller ones, by bisection; −1 if for none."""
    low, high = -1.0, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
