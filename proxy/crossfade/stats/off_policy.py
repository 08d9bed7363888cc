"""Off-policy evaluation: the mean that another choice of backends would have had, from rows whose choice was drawn at random.

Rule: p is the known probability with which a row's backend was chosen, π the one that the other policy gives it, W = π/p, and q a
model of the number, fitted on earlier rows only. Whatever q is,

    φ = Σ_a π(a)·q(a) + W(Y − q(A))     has the mean of Y under the other policy

(doubly robust; inverse propensity scores are q = 0). Numbers in 0 to 1 put φ between −w and 1 + w, where w is the largest W, which
the weights fix before any number is known. So the bounds of `bounded` hold for its mean at every look (Waudby-Smith, Wu, Ramdas,
Karampatziakis & Mineiro, JDS 2024). Self-normalised scores (SNIPS) and the effective sample size are for display and refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, fsum, inf, log, log1p

import msgspec

from crossfade.stats.means import PLANNED_UNITS, MeanSums, mean_interval, mixture_rho
from crossfade.stats.sequential import bound, log_mean_exp

LEAST_CHANCE = 0.01  # p below which a row says too little of another policy
LEAST_SIZE = 200.0  # effective sample size below which nothing is said
FINE = 1024  # levels between the ends of φ
_STEPS = 40  # of a bisection
_COUNT = 18
_LOW, _HIGH = (
    0.001,
    0.95,
)  # stakes, as shares of what keeps a bet positive; small ones because φ has few large values
_STAKES = tuple(exp(log(_LOW) + log(_HIGH / _LOW) * j / (_COUNT - 1)) for j in range(_COUNT))


Levels = dict[int, float]  # rows by level of φ


class Moments(msgspec.Struct):
    """Sums over rows. `n`: rows; `w`, `w2`: Σ W, Σ W²; `wy`: Σ W·Y; `phi`, `phi2`: Σ φ, Σ φ²."""

    n: int = 0
    w: float = 0.0
    w2: float = 0.0
    wy: float = 0.0
    phi: float = 0.0
    phi2: float = 0.0

    def add(self, weight: float, y: float, phi: float, rows: int = 1) -> None:
        """Add rows that are alike. `weight`: W."""
        self.n += rows
        self.w += rows * weight
        self.w2 += rows * weight * weight
        self.wy += rows * weight * y
        self.phi += rows * phi
        self.phi2 += rows * phi * phi

    @property
    def ips(self) -> float:
        """Inverse propensity scores: Σ W·Y / n."""
        return self.wy / self.n if self.n else 0.0

    @property
    def snips(self) -> float:
        """Self-normalised: Σ W·Y / Σ W."""
        return self.wy / self.w if self.w else 0.0

    @property
    def dr(self) -> float:
        """Doubly robust: Σ φ / n."""
        return self.phi / self.n if self.n else 0.0

    @property
    def size(self) -> float:
        """The effective sample size: (Σ W)² / Σ W²."""
        return self.w * self.w / self.w2 if self.w2 else 0.0


def phi_of(planned: float, weight: float, y: float, expected: float) -> float:
    """φ of one row. `planned`: Σ_a π(a)·q(a); `expected`: q of the row's backend."""
    return planned + weight * (y - expected)


class Scale(msgspec.Struct, frozen=True):
    """The ends of φ, fixed before any number is known."""

    low: float
    high: float

    def add(self, levels: Levels, phi: float, rows: int = 1) -> None:
        """Add rows that are alike to the counts by level.

        A φ between two levels is divided so that their mean is φ. As the logarithm is concave, that only makes a bet win less.
        """
        place = min(max((phi - self.low) / (self.high - self.low), 0.0), 1.0) * FINE
        whole = min(int(place), FINE - 1)
        above = rows * (place - whole)
        levels[whole] = levels.get(whole, 0.0) + rows - above
        if above:
            levels[whole + 1] = levels.get(whole + 1, 0.0) + above


def bounded_interval(levels: Levels, scale: Scale, alpha: float) -> tuple[float, float]:
    """Confidence sequence of the mean of φ, from counts by level; exact, and at every look. The whole scale without rows.

    Test inversion, alpha/2 each way. Each test is the mean over stakes of Π(1 + λ(φ − v)), λ below 1/(v − low).
    """
    n = sum(levels.values())
    if not n:
        return scale.low, scale.high
    limit = bound(alpha / 2)
    middle = fsum([k * c for k, c in levels.items()]) / n / FINE
    mirrored = {FINE - k: c for k, c in levels.items()}
    low = _edge(lambda v: _log_e_above(levels, v) >= limit, middle)
    high = 1 - _edge(lambda v: _log_e_above(mirrored, v) >= limit, 1 - middle)
    width = scale.high - scale.low
    return scale.low + width * low, scale.low + width * high


def _log_e_above(levels: Levels, mean: float) -> float:
    """Log e-value against "the mean is at most this", all in 0 to 1."""
    if mean <= 0:
        return inf if any(levels.get(k) for k in levels if k) else 0.0
    pairs = [(k / FINE / mean - 1, c) for k, c in levels.items()]
    return log_mean_exp([fsum([c * log1p(t * z) for z, c in pairs]) for t in _STAKES])


def _edge(rejects: Callable[[float], bool], middle: float) -> float:
    """The largest mean below `middle` that is rejected."""
    low, high = 0.0, middle
    for _ in range(_STEPS):
        half = (low + high) / 2
        low, high = (half, high) if rejects(half) else (low, half)
    return low


def asymptotic_interval(found: Moments, alpha: float) -> tuple[float, float]:
    """Confidence sequence of the mean of φ in the limit of many rows, for numbers without a range (statistics 1.6, AsympCS)."""
    if found.n < 2:
        return -inf, inf
    variance = max(found.phi2 - found.phi * found.phi / found.n, 0.0)
    sums = MeanSums(s=found.phi, observed=variance, d=float(found.n))
    return mean_interval(sums, mixture_rho(variance / found.n * PLANNED_UNITS, alpha), alpha)
