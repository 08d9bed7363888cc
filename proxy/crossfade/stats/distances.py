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
from math import fsum, log1p

import msgspec

from crossfade.stats.bounded import LEVELS, level_of
from crossfade.stats.differences import STAKES
from crossfade.stats.sequential import bound, log_mean_exp
from crossfade.stats.sums import add_up

_WIDTH = LEVELS + 1
_PRECISION = 1e-4  # of the ends of an interval


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
    chance = distances.chance
    if chance <= 0:
        return 0.0
    return log_mean_exp(_logs(distances.payoffs(), margin, 1.0, 1 / chance + margin))


def gain_distance(distances: Distances, margin: float) -> float:
    """Expected growth of the log e-value in nats per pair, at the present distances and the best stake; 0 if there is none."""
    chance, n = distances.chance, distances.n
    if chance <= 0:
        return 0.0
    return max(0.0, *_logs(distances.payoffs(), margin, 1.0, 1 / chance + margin)) / n


def _logs(payoffs: Iterable[tuple[int, float]], margin: float, sign: float, largest: float) -> list[float]:
    """The log wealth for each stake; `largest`: the largest loss of one pair."""
    moved = [(n, sign * (payoff - margin) / largest) for n, payoff in payoffs]
    return [fsum([n * log1p(stake * z) for n, z in moved]) for stake in STAKES]


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


def _largest_where(holds: Callable[[float], bool]) -> float:
    """The largest margin in −1 to 1 at which a statement holds that holds for all smaller ones, by bisection; −1 if for none."""
    low, high = -1.0, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
