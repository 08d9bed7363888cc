"""Means of a number per unit (a KPI), compared between two sides while weights change.

Rule: the sum is over (A − w)(Y − m): A = 1 for a unit on the side under test ("here"), w the probability of that,
Y its number, m the mean of all units of its stratum. If the sides do not differ, its mean is 0 however Y changes over
time, so ramps and drifting means do no harm. Dividing by w instead (inverse propensity) fails on heavy tails.
It needs only n, the sum and the sum of squares of each side, so merging is addition.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import erfc, inf, log, pi, sqrt
from typing import NamedTuple

import msgspec

_TIGHTEST_AT = (
    50_000  # units at which the interval is tightest; with heavy tails early looks need a large value
)
MIN_UNITS = 100  # units on each side before the normal approximation is used
_FAR = -30.0  # standard deviations beyond which erfc underflows


class Moments(msgspec.Struct):
    """Numbers of one side: how many, their sum and the sum of their squares; merging is addition.

    On a sticky route a unit is a key: one number for each key. `binary`: all numbers are 0 or 1.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    binary: bool = True

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        self.squares += value * value
        self.binary = self.binary and value in (0, 1)

    def merge(self, other: Moments) -> None:
        self.n += other.n
        self.total += other.total
        self.squares += other.squares
        self.binary = self.binary and other.binary

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    def around(self, centre: float) -> float:
        """The sum of squared distances from `centre`."""
        return max(self.squares - 2 * centre * self.total + self.n * centre * centre, 0.0)


class SplitMoments(NamedTuple):
    """Moments of one stratum; a unit was on the side under test with probability `share`."""

    share: float
    here: Moments
    rest: Moments


class WeightedDifference(NamedTuple):
    """S = Σ(A − w)(Y − m), its variance V, D = Σ w(1 − w), over n units; the difference of means is S/D.

    V is the larger of Σ((A − w)(Y − m))² and Σ w(1 − w)(Y − m)². The first alone is far too small while a small side
    has few units with large numbers: it gave 10 to 44 % false alarms at α = 5 % in our simulations.
    """

    s: float
    v: float
    d: float
    n: int

    @property
    def difference(self) -> float:
        return self.s / self.d if self.d else 0.0

    def rho(self, alpha: float) -> float:
        """ρ of the normal mixture that is tightest at _TIGHTEST_AT units of the observed variance."""
        return mixture_rho(self.v / self.n * _TIGHTEST_AT, alpha) if self.v else 1.0


def weighted_difference(strata: Iterable[SplitMoments]) -> WeightedDifference:
    """The difference of means with overlap weights: a stratum has weight w(1 − w) times its units (statistics 1.6)."""
    s = observed = expected = d = 0.0
    n = 0
    for w, here, rest in strata:
        units = here.n + rest.n
        m = (here.total + rest.total) / units if units else 0.0
        s += (1 - w) * (here.total - here.n * m) - w * (rest.total - rest.n * m)
        near, far = here.around(m), rest.around(m)
        observed += (1 - w) ** 2 * near + w**2 * far
        expected += w * (1 - w) * (near + far)
        d += w * (1 - w) * units
        n += units
    return WeightedDifference(s, max(observed, expected), d, n)


def mean_interval(found: WeightedDifference, alpha: float) -> tuple[float, float]:
    """Confidence sequence of the difference of means: covers it at all looks together, with 1 − alpha, asymptotically.

    Asymptotic confidence sequence (Waudby-Smith et al., arXiv 2103.06476): that of the normal mixture, with the
    observed variance in place of the true one. (−inf, inf) without units or variance.
    """
    if not found.d or not found.v:
        return -inf, inf
    half = mixture_boundary(found.v, found.rho(alpha), alpha)
    return (found.s - half) / found.d, (found.s + half) / found.d


def log_e_mean_above(found: WeightedDifference, limit: float, alpha: float) -> float:
    """Log e-value, asymptotically, against "the mean is at most `limit` higher here"; `alpha` only tunes the mixture."""
    return log_e_drift(found.s - limit * found.d, found.v, found.rho(2 * alpha)) if found.v else 0.0


def log_e_mean_below(found: WeightedDifference, limit: float, alpha: float) -> float:
    """Log e-value, asymptotically, against "the mean is at least `limit` higher here"; `alpha` only tunes the mixture."""
    return log_e_drift(limit * found.d - found.s, found.v, found.rho(2 * alpha)) if found.v else 0.0


def gain_mean(found: WeightedDifference, limit: float) -> float:
    """Asymptotic growth of either log e-value, in nats per unit: half the squared drift divided by the variance."""
    return (found.s - limit * found.d) ** 2 / (2 * found.v * found.n) if found.v else 0.0


def mixture_rho(v: float, alpha: float) -> float:
    """ρ of the normal mixture that is tightest at variance v: v/(2 log(1/α) + log(1 + 2 log(1/α))) (Howard et al. 2021)."""
    return v / (-2 * log(alpha) + log(1 - 2 * log(alpha)))


def log_e_drift(s: float, v: float, rho: float) -> float:
    """Log e-value against "s is a sum with mean at most 0 and variance v": the one-sided normal mixture.

    ½log(4ρ/(V + ρ)) + S²/(2(V + ρ)) + log Φ(S/√(V + ρ)), with `rho` of 2α (Howard et al., Ann. Stat. 49(2), 2021).
    """
    return log(4 * rho / (v + rho)) / 2 + s * s / (2 * (v + rho)) + log_phi(s / sqrt(v + rho))


def log_phi(z: float) -> float:
    """Logarithm of the normal distribution function; below _FAR by the leading term of its asymptotic series."""
    return log(erfc(-z / sqrt(2)) / 2) if z > _FAR else -z * z / 2 - log(-z * sqrt(2 * pi))


def mixture_boundary(v: float, rho: float, alpha: float) -> float:
    """Largest |S| at variance v that level alpha does not reject: √((V + ρ)(log(1 + V/ρ) + 2 log(1/α))).

    There the two-sided normal mixture ½log(ρ/(V + ρ)) + S²/(2(V + ρ)) is log(1/α) (Howard et al. 2021).
    """
    return sqrt((v + rho) * (log(1 + v / rho) - 2 * log(alpha)))
