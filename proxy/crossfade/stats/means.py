"""Means of a number (a KPI), compared between two sides while weights change; a unit is a customer or a request.

Rule: S = Σ(A − w)R over units: A = 1 on the side under test ("here"), w the probability of that, R = Σ(Y − m) the sum
of the unit's numbers Y, each less m, the mean of all numbers before its tick. If the sides do not differ, the mean of S is 0
however Y changes over time, so ramps and drifting means do no harm. Dividing by w instead (inverse propensity) fails on
heavy tails. V is the larger of Σ((A − w)R)² and Σw(1 − w)R². Under "sides alike given the past" the second is the variance,
because the coin is known, and the larger of both exceeds the bound of Delyon (2009): V1/3 + 2·V2/3. The first is needed for
sides of unequal variance. ρ of the normal mixture is fixed before the first unit counts.

A customer keeps a side, and one coin decides for all of the customer's numbers, so they are one unit. When the weight rises from w to
w', the coin of the old customer decides again: A' = 1 if the same position is below w'. The covariance of A and A' is
min(w, w') − w·w'. S at all looks is a normal process in the limit; numbers of a customer that lean the same way make its increments
positively correlated, and such a process crosses a bound less often than one of independent increments (Slepian 1962).
"""

from __future__ import annotations

from math import erfc, inf, log, log1p, pi, sqrt

import msgspec

from crossfade.stats.sequential import log_mean_exp

PLANNED_UNITS = 10_000  # units at which the mixture is tightest
MIN_UNITS = 100  # units on each side before the normal approximation is used
LARGEST = 1e100  # of a number; its square and sums of squares stay finite
_HUGE, _LEAST = 1e150, 1e-300  # a number whose square is still finite, and one that is still exact
_SCALES = (50.0, 500.0, 5000.0)  # events: a burst has few or thousands
_FAR = -30.0  # standard deviations beyond which erfc underflows


class Unit(msgspec.Struct, omit_defaults=True):
    """The numbers of one unit: `z` is Σ(A − w)(Y − m), `parts` are (w, Σ(Y − m)) for each share w."""

    z: float = 0.0
    parts: list[tuple[float, float]] = msgspec.field(default_factory=list)


class MeanSums(msgspec.Struct):
    """Sums over units: S, both variances, and D = Σw(1 − w) over numbers. The difference of means is S/D."""

    s: float = 0.0
    observed: float = 0.0
    expected: float = 0.0
    d: float = 0.0

    def add(self, unit: Unit, here: bool, share: float, r: float) -> None:
        """Add a number of this unit, less the centre; `share`: w, when its request came. |r| ≤ LARGEST."""
        before = unit.z
        unit.z += (1 - share) * r if here else -share * r
        self.s += unit.z - before
        self.observed += unit.z * unit.z - before * before
        own, others, place = share * (1 - share), 0.0, -1
        for i, (w, sum_so_far) in enumerate(unit.parts):
            others += sum_so_far * (min(w, share) - w * share)
            place = i if w == share else place
        self.expected += r * r * own + 2 * r * others
        self.d += own
        if place < 0:
            unit.parts.append((share, r))
        else:
            unit.parts[place] = (share, unit.parts[place][1] + r)

    def add_alone(self, before: float, r: float) -> None:
        """Add a number of one side, less a limit, to a unit whose sum was `before`: the mean of one side."""
        after = before + r
        self.s += r
        self.observed += after * after - before * before
        self.d += 1

    @property
    def v(self) -> float:
        return max(self.observed, self.expected, 0.0)

    @property
    def mean(self) -> float:
        return self.s / self.d if self.d else 0.0


def mean_interval(found: MeanSums, rho: float, alpha: float) -> tuple[float, float]:
    """Confidence sequence of the mean: covers it at all looks together, with 1 − alpha, in the limit of many units.

    (−inf, inf) without numbers or variance. `rho`: above 0, of alpha.
    """
    if not found.d or not found.v:
        return -inf, inf
    half = mixture_boundary(found.v, rho, alpha)
    return (found.s - half) / found.d, (found.s + half) / found.d


def log_e_mean_above(found: MeanSums, limit: float, rho: float) -> float:
    """Log e-value against "the mean is at most `limit`", in the limit of many units. `rho`: above 0, of 2·alpha."""
    return log_e_drift(found.s - limit * found.d, found.v, rho) if found.v else 0.0


def log_e_mean_below(found: MeanSums, limit: float, rho: float) -> float:
    """Log e-value against "the mean is at least `limit`", in the limit of many units. `rho`: above 0, of 2·alpha."""
    return log_e_drift(limit * found.d - found.s, found.v, rho) if found.v else 0.0


def gain_mean(found: MeanSums, limit: float, units: int) -> float:
    """Growth of either log e-value, in nats per unit: half the squared drift divided by the variance."""
    if not found.v or not units:
        return 0.0
    drift = (found.s - limit * found.d) / sqrt(found.v)
    return drift * drift / (2 * units)


def mixture_rho(v: float, alpha: float) -> float:
    """ρ of the normal mixture that is tightest at variance v: v/(2 log(1/α) + log(1 + 2 log(1/α))) (Howard et al. 2021).

    Above 0 even where v is not.
    """
    return max(v / (-2 * log(alpha) + log(1 - 2 * log(alpha))), _LEAST)


def log_e_drift(s: float, v: float, rho: float) -> float:
    """Log e-value against "s is a sum with mean at most 0 and variance v": the one-sided normal mixture.

    ½log(4ρ/(V + ρ)) + S²/(2(V + ρ)) + log Φ(S/√(V + ρ)), with `rho` of 2α (Howard et al., Ann. Stat. 49(2), 2021).
    """
    z = min(s / sqrt(v + rho), _HUGE)
    width = (log(4) - _log_ratio(v, rho)) / 2
    return (
        width + z * z / 2 + log_phi(z) if z > _FAR else width - log(-z * sqrt(2 * pi))
    )  # both squares cancel


def log_e_drift_scaled(s: float, v: float, unit: float, alpha: float) -> float:
    """The mean of `log_e_drift` over three mixtures, tightest at 50, 500 and 5000 events; `unit`: the variance that one adds."""
    return log_mean_exp([log_e_drift(s, v, mixture_rho(scale * unit, 2 * alpha)) for scale in _SCALES])


def log_phi(z: float) -> float:
    """Logarithm of the normal distribution function; below _FAR by the leading term of its asymptotic series."""
    return log(erfc(-z / sqrt(2)) / 2) if z > _FAR else -z * z / 2 - log(-z * sqrt(2 * pi))


def mixture_boundary(v: float, rho: float, alpha: float) -> float:
    """Largest |S| at variance v that level alpha does not reject: √((V + ρ)(log(1 + V/ρ) + 2 log(1/α))).

    There the two-sided normal mixture ½log(ρ/(V + ρ)) + S²/(2(V + ρ)) is log(1/α) (Howard et al. 2021).
    """
    return sqrt(v + rho) * sqrt(_log_ratio(v, rho) - 2 * log(alpha))


def _log_ratio(v: float, rho: float) -> float:
    """log(1 + V/ρ), also where V/ρ is too large for a number."""
    ratio = v / rho
    return log1p(ratio) if ratio < inf else log(v) - log(rho)
