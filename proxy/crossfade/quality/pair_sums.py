"""Sums over compared pairs, from which shares, means and their intervals follow.

Rule: all sums are integers, so adding parts gives the same in any order. A distance counts in millionths. Where the champion was
never to be asked twice, it is taken to agree with itself: all that differs is excess.
"""

from __future__ import annotations

from typing import Final

import msgspec

from crossfade.quality.compared import Compared
from crossfade.scale import WHOLE
from crossfade.stats.bounded import LEVELS
from crossfade.stats.distances import Distances, distance_interval, log_e_distance
from crossfade.stats.means import log_e_drift, mixture_boundary, mixture_rho

MILLION: Final = 1_000_000
WIDTH: Final = LEVELS + 1  # a level of the challenger's distance counts so much in `stats.distances`
_PLANNED_PAIRS: Final = 1000  # pairs at which the interval of a mean is tightest
_PLANNED_SPREAD: Final = 0.1  # standard deviation of a pair's excess distance that is planned with

Interval = tuple[float, float]


class Estimate(msgspec.Struct, frozen=True):
    """`interval`: covers the true value at all looks together, with 95 %."""

    estimate: float
    interval: Interval


class PairSums(msgspec.Struct, array_like=True):
    """`decided`: pairs in which the champion gave a decision. Of these, `changed`, with `raised` from no to yes and `lowered`;
    `missing`: the challenger gave none. `twice`: pairs with a second decision of the champion; of these, it was another one in `noise`, and
    `both`: the challenger's was another one too.
    `chances`: of asking the champion twice, out of WHOLE each. `asked`: pairs with a distance between its two answers; the sums
    of its square, and of its product with the challenger's distance, are of these.
    """

    n: int = 0
    decided: int = 0
    changed: int = 0
    raised: int = 0
    lowered: int = 0
    missing: int = 0
    twice: int = 0
    noise: int = 0
    both: int = 0
    chances: int = 0
    asked: int = 0
    distance: int = 0
    squares: int = 0
    noise_distance: int = 0
    noise_squares: int = 0
    products: int = 0

    def add(self, pair: Compared, chance: float) -> None:
        d, noise = pair.distance, pair.noise_distance
        self.n += 1
        self.missing += pair.missing
        self.chances += round(chance * WHOLE)
        self.distance += round(d * MILLION)
        self.squares += round(d * d * MILLION)
        if noise is not None:
            self.asked += 1
            self.noise_distance += round(noise * MILLION)
            self.noise_squares += round(noise * noise * MILLION)
            self.products += round(noise * d * MILLION)
        if pair.decided:
            self._add_decision(pair)

    def _add_decision(self, pair: Compared) -> None:
        self.decided += 1
        self.changed += pair.changed
        self.raised += pair.changed and pair.raised is True
        self.lowered += pair.changed and pair.raised is False
        if pair.noise_changed is not None:
            self.twice += 1
            self.noise += pair.noise_changed
            self.both += pair.noise_changed and pair.changed

    def merge(self, other: PairSums) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def chance(self) -> float:
        """The mean probability of asking the champion twice. The YAML sets one value, so the mean is that value."""
        return self.chances / (WHOLE * self.n) if self.n else 0.0

    @property
    def mean_distance(self) -> float | None:
        return self.distance / (MILLION * self.n) if self.n else None

    @property
    def mean_noise(self) -> float | None:
        return self.noise_distance / (MILLION * self.asked) if self.asked else None

    def changes(self) -> Distances:
        """Changed decisions as distances of 0 and 1, for the tests of distances."""
        both = self.both
        counts = {
            LEVELS * WIDTH + LEVELS: both,
            LEVELS * WIDTH: self.changed - both,
            LEVELS: self.noise - both,
            0: self.decided - self.changed - self.noise + both,
        }
        return Distances(
            {code: n for code, n in counts.items() if n},
            (self.chance or 1.0) * self.decided,
            self.twice,
        )

    def changed_excess(self, alpha: float) -> Estimate | None:
        return excess_of(self.changes(), alpha)

    def log_e_changed(self, margin: float) -> float:
        """Log e-value against "the share of changed decisions is at most the champion's own plus `margin`"."""
        return log_e_distance(self.changes(), margin)

    def distance_excess(self, alpha: float) -> Estimate | None:
        """With an interval that holds at all looks together in the limit of many pairs (`stats.means`)."""
        if not self.n:
            return None
        mean, v = self._excess_mean(), self._excess_variance()
        half = mixture_boundary(v, _rho(alpha), alpha) / self.n
        return Estimate(mean, (max(mean - half, -1.0), min(mean + half, 1.0)))

    def log_e_distance(self, margin: float, alpha: float) -> float:
        """Log e-value against "the mean distance is at most the champion's own plus `margin`", in the limit of many pairs."""
        if not self.n:
            return 0.0
        above = (self._excess_mean() - margin) * self.n
        return log_e_drift(above, self._excess_variance(), _rho(2 * alpha))

    def _excess_mean(self) -> float:
        return (self.distance - self.noise_distance / (self.chance or 1.0)) / (MILLION * self.n)

    def _excess_variance(self) -> float:
        """Of n times the mean of Z = D − BN/ν (`stats.distances`), as if one more pair had been 1 and one −1/ν: rare second
        answers that did not come yet would be missed otherwise.
        """
        v = self.chance or 1.0
        squares = (self.squares - 2 * self.products / v + self.noise_squares / (v * v)) / MILLION
        return max(squares - self.n * self._excess_mean() ** 2, 0.0) + 1 + 1 / (v * v)


def excess_of(found: Distances, alpha: float) -> Estimate | None:
    """An exact interval."""
    payoffs = found.payoffs()
    n = found.n
    if not n:
        return None
    return Estimate(sum(count * payoff for count, payoff in payoffs) / n, distance_interval(found, alpha))


def share_of(x: int, n: int, alpha: float) -> Estimate | None:
    """A share of independent pairs, with an exact interval."""
    if not n:
        return None
    found = Distances({LEVELS * WIDTH: x, 0: n - x}, float(n), 0)
    low, high = distance_interval(found, alpha)
    return Estimate(x / n, (max(low, 0.0), min(high, 1.0)))


def _rho(alpha: float) -> float:
    return mixture_rho(_PLANNED_PAIRS * _PLANNED_SPREAD**2, alpha)
