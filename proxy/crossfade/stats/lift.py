"""Lift: how much higher one side's mean is, relative to the other's; tests that are valid at every look.

Rule: "the mean here is at most F times the mean of the others" is tested with the numbers of the others taken F times. With A = 1
on the side under test, w the probability of that, and any c fixed before,

    Z = A(1 − w)(Y − c) − (1 − A)w(F·Y − c)     has mean     w(1 − w)(mean here − F·mean rest)

so Π(1 + λZ) is a bet against it where Y has a range, as in `bounded` (Waudby-Smith & Ramdas, JRSS-B 2024), and ΣZ is a sum with
a mean of at most 0 where it has none, as in `means`. A lift of L is F = 1 + L. Both means must be above 0, else no lift is defined.
A wrong c costs power only. Of events nothing is known before, so their tests are the mean of those with c at 0, ½ and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import fsum, log1p, sqrt
from typing import NamedTuple

from crossfade.stats.bounded import SplitLevels
from crossfade.stats.differences import STAKES
from crossfade.stats.means import MeanSums, log_e_drift
from crossfade.stats.sequential import Logs, bound, log_mean_exp

_CACHED = 64  # sets of log factors: one for each share, centre and factor in use
_STEPS = 40  # of a search
_EXACT = 1e-5  # relative, of an end of an interval
_HIGHEST = 1000.0  # factor beyond which an interval is open
_Factors = tuple[tuple[Logs, Logs], ...]


class Levels(NamedTuple):
    """What the counts by level mean: level 0 is `low`, the last one `high`. `centres`: c, in the same unit, known beforehand."""

    low: float
    high: float
    centres: tuple[float, ...]


class LiftTests(NamedTuple):
    """Log e-values, given a factor F: against "at most F times the others' mean", and against "at least". `mean`: of the others."""

    more: Callable[[float], float]
    less: Callable[[float], float]
    mean: float


def log_e_more_levels(strata: Sequence[SplitLevels], levels: Levels, factor: float) -> float:
    """Log e-value against "the mean here is at most `factor` times the mean of the others"; 0 without counts."""
    return _log_e_levels(strata, levels, factor, 1)


def log_e_less_levels(strata: Sequence[SplitLevels], levels: Levels, factor: float) -> float:
    """Log e-value against "the mean here is at least `factor` times the mean of the others"; 0 without counts."""
    return _log_e_levels(strata, levels, factor, -1)


def _log_e_levels(strata: Sequence[SplitLevels], levels: Levels, factor: float, sign: int) -> float:
    logs = []
    for centre in levels.centres:
        sums = [0.0] * len(STAKES)
        for share, here, rest in strata:
            factors = _level_factors(share, levels.low, levels.high, centre, factor, len(here), sign)
            for j, (ours, theirs) in enumerate(factors):
                sums[j] += _sum_product(here, ours) + _sum_product(rest, theirs)
        logs += sums
    return log_mean_exp(logs)


def _sum_product(counts: Sequence[int], terms: Sequence[float]) -> float:
    return fsum([n * term for n, term in zip(counts, terms, strict=True) if n])


@lru_cache(_CACHED)
def _level_factors(
    share: float, low: float, high: float, centre: float, factor: float, count: int, sign: int
) -> _Factors:
    """Log factors of each level here and on the other side, for each stake: 1 % to 95 % of what keeps them positive."""
    values = [low + (high - low) * k / (count - 1) for k in range(count)]
    ours = [sign * (1 - share) * (v - centre) for v in values]
    theirs = [-sign * share * (factor * v - centre) for v in values]
    lowest = -min(*ours, *theirs)
    if lowest <= 0:  # nothing could be lost, so no stake is the largest; there is no bet
        return ((([0.0] * count), ([0.0] * count)),) * len(STAKES)
    return tuple(
        ([log1p(t * (z / lowest)) for z in ours], [log1p(t * (z / lowest)) for z in theirs]) for t in STAKES
    )


def log_e_more_means(found: MeanSums, mean: float, factor: float, rho: float) -> float:
    """Log e-value against "the mean here is at most `factor` times the others'", in the limit of many units.

    `mean`: of the others. `rho`: above 0, of 2·alpha. S − (F − 1)·D·mean takes the others' numbers F times, so at most F² times the
    variance of S.
    """
    return _log_e_means(found, mean, factor, rho, 1)


def log_e_less_means(found: MeanSums, mean: float, factor: float, rho: float) -> float:
    """Log e-value against "the mean here is at least `factor` times the others'", in the limit of many units."""
    return _log_e_means(found, mean, factor, rho, -1)


def _log_e_means(found: MeanSums, mean: float, factor: float, rho: float, sign: int) -> float:
    if not found.v:
        return 0.0
    scale = max(factor, 1.0) ** 2
    return log_e_drift(sign * (found.s - (factor - 1) * found.d * mean), found.v * scale, rho * scale)


def lift_interval(tests: LiftTests, estimate: float, alpha: float) -> tuple[float | None, float | None]:
    """Confidence sequence of the lift: covers it at all looks together, with 1 − alpha. Shares: 0.05 is 5 %.

    Test inversion, alpha/2 each way, from the estimate outwards. `estimate`: a lift. None: that end is open.
    """
    limit, middle = bound(alpha / 2), min(max(estimate + 1, 0.0), _HIGHEST)
    low = _edge(lambda f: tests.more(f) - limit, middle, 0.0)
    high = _edge(lambda f: tests.less(f) - limit, middle, _HIGHEST)
    return None if low is None else low - 1, None if high is None else high - 1


def _edge(beyond: Callable[[float], float], inside: float, outside: float) -> float | None:
    """Where `beyond` reaches 0, a little on its positive side, between a factor and one far out; None if it never does.

    It doubles its steps, then divides by the rule of Illinois, which needs a fifth of the evaluations of a bisection.
    """
    last, step = beyond(inside), (outside - inside) / 2**12
    if last >= 0 or beyond(outside) < 0:
        return inside if last >= 0 else None
    far, before, was_far = inside, last, True
    while last < 0:
        inside, before, far = far, last, (far + step if abs(step) < abs(outside - far) else outside)
        last, step = beyond(far), 2 * step
    for _ in range(_STEPS):
        if abs(far - inside) <= _EXACT * abs(far) + _EXACT**2:
            break
        middle = far - last * (far - inside) / (last - before)
        found = beyond(middle)
        if found >= 0:
            far, last, before = middle, found, before / 2 if was_far else before
        else:
            inside, before, last = middle, found, last if was_far else last / 2
        was_far = found >= 0
    return far


def drift_of_levels(strata: Sequence[SplitLevels], levels: Levels, factor: float, mean: float) -> MeanSums:
    """ΣZ, ΣZ² and Σw(1 − w) with c at the mean of the others, F times: for the growth of the tests, not for a verdict."""
    out = MeanSums()
    for share, here, rest in strata:
        for weight, times, counts in ((1 - share, 1.0, here), (-share, factor, rest)):
            for k, n in enumerate(counts):
                value = levels.low + (levels.high - levels.low) * k / (len(counts) - 1)
                z = weight * (times * value - factor * mean)
                out.s += n * z
                out.observed += n * z * z
        out.d += share * (1 - share) * (sum(here) + sum(rest))
    return out


def drift_of_means(found: MeanSums, mean: float, factor: float) -> MeanSums:
    """The same of sums."""
    return MeanSums(found.s - (factor - 1) * found.d * mean, found.v * max(factor, 1.0) ** 2, 0.0, found.d)


def growth(drift: MeanSums, units: int) -> float:
    """Nats per unit by which the test in the direction of the drift grows: half the squared drift divided by the variance."""
    if not drift.v or not units:
        return 0.0
    z = drift.s / sqrt(drift.v)
    return z * z / (2 * units)
