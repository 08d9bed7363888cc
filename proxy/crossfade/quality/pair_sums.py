"""Sums over compared pairs, from which shares, means and their intervals follow.

Rule: all sums are integers, so adding parts gives the same in any order. A distance counts in millionths.
"""

from __future__ import annotations

from typing import Final

import msgspec

from crossfade.quality.compared import Compared
from crossfade.scale import WHOLE
from crossfade.stats.means import mixture_boundary, mixture_rho
from crossfade.stats.pairs import Pairs

MILLION: Final = 1_000_000
_PLANNED_PAIRS: Final = 1000  # pairs at which the interval of a mean is tightest
_PLANNED_SPREAD: Final = 0.1  # standard deviation of a pair's excess distance that is planned with

Interval = tuple[float, float]


class Excess(msgspec.Struct, frozen=True):
    """How much more the challenger differs from the champion than the champion from itself, with the interval of it."""

    estimate: float
    interval: Interval


class PairSums(msgspec.Struct, array_like=True):
    """`chances`: of asking the champion twice, out of WHOLE each. `twice`: pairs where it was; of these, `noise` changed the
    decision, and `both`: the challenger changed it too. Of these too: sums of the distance between the champion's two answers, of its
    square, and of its product with the challenger's distance.
    """

    n: int = 0
    changed: int = 0
    raised: int = 0
    lowered: int = 0
    missing: int = 0
    chances: int = 0
    twice: int = 0
    noise: int = 0
    both: int = 0
    distance: int = 0
    squares: int = 0
    noise_distance: int = 0
    noise_squares: int = 0
    products: int = 0

    def add(self, pair: Compared, chance: float) -> None:
        d = pair.distance
        self.n += 1
        self.changed += pair.changed
        self.raised += pair.changed and pair.raised is True
        self.lowered += pair.changed and pair.raised is False
        self.missing += pair.missing
        self.chances += round(chance * WHOLE)
        self.distance += round(d * MILLION)
        self.squares += round(d * d * MILLION)
        if pair.noise_changed is not None or pair.noise_distance is not None:
            noise, differed = pair.noise_distance or 0.0, pair.noise_changed is True
            self.twice += 1
            self.noise += differed
            self.both += differed and pair.changed
            self.noise_distance += round(noise * MILLION)
            self.noise_squares += round(noise * noise * MILLION)
            self.products += round(noise * d * MILLION)

    def merge(self, other: PairSums) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def chance(self) -> float:
        """The mean probability of asking the champion twice. The YAML sets one value, so the mean is that value."""
        return self.chances / (WHOLE * self.n) if self.n else 0.0

    @property
    def pairs(self) -> Pairs:
        """As the tests of decisions want them."""
        return Pairs(
            n=self.n,
            changed=self.changed,
            raised=self.raised,
            chances=self.chances / WHOLE,
            twice=self.twice,
            noise=self.noise,
            both=self.both,
            lowered=self.lowered,
            missing=self.missing,
        )

    @property
    def mean_distance(self) -> float | None:
        return self.distance / (MILLION * self.n) if self.n else None

    @property
    def mean_noise(self) -> float | None:
        return self.noise_distance / (MILLION * self.twice) if self.twice else None

    def distance_excess(self, alpha: float) -> Excess | None:
        """Of the distance, with an interval that holds at all looks together in the limit of many pairs.

        With B = 1 with known probability ν for asking twice, the mean of Z = D − BN/ν is the excess (`stats.pairs`); the
        interval is the normal mixture of `stats.means`, with the variance of Z as if one more pair had been 1 and one −1/ν:
        the rare second answers would be missed otherwise. None where nobody is asked twice.
        """
        v = self.chance
        if not v or self.n < 2:
            return None
        estimate = (self.distance - self.noise_distance / v) / (MILLION * self.n)
        squares = (self.squares - 2 * self.products / v + self.noise_squares / (v * v)) / MILLION
        variance = max(squares - self.n * estimate * estimate, 0.0) + 1 + 1 / (v * v)
        rho = mixture_rho(_PLANNED_PAIRS * _PLANNED_SPREAD**2, alpha)
        half = mixture_boundary(variance, rho, alpha) / self.n
        return Excess(estimate, (max(estimate - half, -1.0), min(estimate + half, 1.0)))
