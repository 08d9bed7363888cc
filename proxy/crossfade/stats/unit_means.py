"""A mean over rows whose units (customers) are independent, with an interval that holds at every look.

Rule: rows of one unit depend on each other, so the variance is that of the units' sums (the delta method for a ratio: Deng,
Knoblich, Lu, KDD 2018). The interval is the normal mixture of `stats.means`: right at all looks together, in the limit of
many units.
"""

from __future__ import annotations

from typing import NamedTuple

from crossfade.stats.means import PLANNED_UNITS, mixture_boundary, mixture_rho

ALPHA = 0.05
MIN_UNITS = 30  # below, no interval is shown
_LEAST = 1e-12  # a variance of units that is taken for none


class Interval(NamedTuple):
    low: float
    high: float


class UnitSums(NamedTuple):
    """Sums over units: how many, rows n, values x, and their products. Adding up is merging."""

    units: int = 0
    n: int = 0
    x: float = 0.0
    xx: float = 0.0
    xn: float = 0.0
    nn: float = 0.0

    @property
    def mean(self) -> float:
        """0 without rows."""
        return self.x / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Of the mean: Σ(X − mN)²/(ΣN)²."""
        if not self.n:
            return 0.0
        m = self.mean
        return max(self.xx - 2 * m * self.xn + m * m * self.nn, 0.0) / (self.n * self.n)


def interval_of(found: UnitSums, low: float | None = None, high: float | None = None) -> Interval | None:
    """Of the mean, moved into its range. None with too few units, or if all are alike."""
    return around(found.mean, found.variance, found.units, low, high)


def around(
    mean: float, variance: float, units: int, low: float | None = None, high: float | None = None
) -> Interval | None:
    """`variance`: of the estimate, over `units` independent units."""
    of_one = variance * units
    if units < MIN_UNITS or of_one <= _LEAST:
        return None
    rho = mixture_rho(PLANNED_UNITS * of_one, ALPHA)
    half = mixture_boundary(units * of_one, rho, ALPHA) / units
    bottom, top = mean - half, mean + half
    return Interval(bottom if low is None else max(bottom, low), top if high is None else min(top, high))
