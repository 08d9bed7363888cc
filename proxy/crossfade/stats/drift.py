"""Drift: whether values come from another law than those of a reference, with a tolerance, and how often that is said wrongly.

Tests: the reference is a sample, so its cumulative shares are known to ε = `sampling_error` (Dvoretzky, Kiefer, Wolfowitz;
Massart 1990), and "the live share is at most δ away" has, at each cut, the one-sample e-value of a share of L + δ + ε. The mean
over cuts and ways is an e-value. Live values must be independent of each other: a customer counts once in a window.

Alarms: an e-detector (Shin, Ramdas, Rinaldo, NEJSDS 2024), M ← (1 + M)·L for each window with e-value L. Without drift M_t − t is
a supermartingale, so E[M_τ] ≤ E[τ] at an alarm τ, and an alarm at M ≥ c comes after c windows or more on average. K detectors
with the limit K·c have that law together, however they depend on each other, as the sum of all M exceeds K·c when one does.

A window's e-value is a mean over alternatives; a mean of detectors, one for each alternative, has the same law and pays for
that mean once, not in each window. So a drift that no single window shows is found.

Everything else here is for display only: PSI with its quantile, chi-square, Wasserstein's distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import exp, fsum, inf, isinf, lgamma, log, log1p, sqrt

from crossfade.stats.sequential import (
    CACHED,
    LARGEST_SHARE,
    POINTS,
    Logs,
    above_logs,
    log_e_above,
    log_mean_exp,
)

_ALTERNATIVES = (0, 1, 2, 4, 6, 9, 13, 18)  # of the grid: 1.1 to 22 times the limit
_CONVERGED = 1e-15
_MOST_TERMS = 100_000
_BISECTIONS = 200
_SMALLEST = 1e-300  # keeps the continued fraction from a division by zero


def sampling_error(n: int, alpha: float) -> float:
    """ε: n reference values miss no cumulative share by more than this, but with probability alpha. n ≥ 0; 1 without any."""
    return min(sqrt(log(2 / alpha) / (2 * n)), 1.0) if n else 1.0


def log_e_share(x: int, n: int, share: float, allowed: float) -> float:
    """Log e-value against "the share of x among n is at most `share` + `allowed`"; 0 where nearly every share is allowed."""
    limit = share + allowed
    return log_e_above(x, n, limit) if 0 < limit < LARGEST_SHARE else 0.0


def log_e_away(x: int, n: int, share: float, allowed: float) -> float:
    """Log e-value against "the share of x among n is at most `allowed` away from `share`", in both ways."""
    ways = [log_e_share(x, n, share, allowed), log_e_share(n - x, n, 1 - share, allowed)]
    return log_mean_exp(ways)


def away_logs(x: int, n: int, share: float, allowed: float) -> Logs:
    """Log likelihood ratios of `log_e_away` for some of its alternatives: a detector keeps each, so it pays for the choice once."""
    out: Logs = []
    for events, level in ((x, share), (n - x, 1 - share)):
        limit = level + allowed
        logs = above_logs(events, n, limit) if 0 < limit < LARGEST_SHARE else [0.0] * POINTS
        out += [logs[j] for j in _ALTERNATIVES]
    return out


def log_e_shift(live: Sequence[int], levels: Sequence[float], allowed: float) -> float:
    """Log e-value against "no cumulative share is more than `allowed` away from its level": the mean over cuts and ways.

    `live`: counts by bin, one more than `levels`, the reference's shares up to each cut. 0 without cuts.
    """
    n, below = sum(live), accumulate(live)
    logs = [log_e_away(x, n, level, allowed) for x, level in zip(below, levels, strict=False)]
    return log_mean_exp(logs) if logs else 0.0


def log_e_categories(live: Sequence[int], shares: Sequence[float], allowed: float) -> float:
    """Log e-value against "no category's share is more than `allowed` away from the reference's": the mean over both ways."""
    n = sum(live)
    logs = [log_e_away(x, n, share, allowed) for x, share in zip(live, shares, strict=True)]
    return log_mean_exp(logs) if logs else 0.0


def next_detector(log_m: float, log_e: float) -> float:
    """log M behind the next window: log((1 + M)·L). An empty detector has log M = −∞."""
    if isinf(log_m):
        return log_m if log_m > 0 else log_e
    return max(log_m, 0.0) + log1p(exp(-abs(log_m))) + log_e


def detector_limit(windows: float, detectors: int) -> float:
    """log M at which one of so many detectors alarms: together at most once in `windows` windows on average."""
    return log(max(windows, 1.0)) + log(max(detectors, 1))


def e_bh(logs: Sequence[float], alpha: float) -> list[int]:
    """The indexes rejected by e-Benjamini-Hochberg at one look (Wang & Ramdas, JRSS-B 2022): false discoveries ≤ alpha.

    The k largest are rejected for the largest k whose k-th log e-value is at least log(K/(k·alpha)).
    """
    order = sorted(range(len(logs)), key=lambda i: -logs[i])
    most = 0
    for k, i in enumerate(order, 1):
        if logs[i] >= log(len(logs) / (k * alpha)):
            most = k
    return sorted(order[:most])


# ── for display ───────────────────────────────────────────────────────────────────────────────


def index_quantile(n: int, m: int, bins: int, level: float = 0.95) -> float:
    """The PSI that n live and m reference values have without any change, at this quantile: (1/n + 1/m)·χ²; 0 without bins."""
    if not n or not m or bins < 2:
        return 0.0
    return (1 / n + 1 / m) * chi_square_quantile(level, bins - 1)


def two_sample_chi_square(live: Sequence[int], reference: Sequence[int]) -> tuple[float, float]:
    """Pearson's statistic of two rows of counts, and its p-value at one look; (0, 1) without values on both sides."""
    n, m = sum(live), sum(reference)
    used = [(x, y) for x, y in zip(live, reference, strict=True) if x + y]
    if not n or not m or len(used) < 2:
        return 0.0, 1.0
    a, b = sqrt(m / n), sqrt(n / m)
    statistic = fsum(((a * x - b * y) / sqrt(x + y)) ** 2 for x, y in used)
    return statistic, chi_square_exceeds(statistic, len(used) - 1)


def wasserstein(cuts: Sequence[float], live: Sequence[int], reference: Sequence[int]) -> float:
    """∫ |F − G| between the outermost cuts, in the unit of the values, by trapezoids; 0 if a side is empty.

    `cuts` rise; counts are by bin, one more than cuts. What lies beyond the outermost cuts adds nothing, so it is at most the
    whole distance.
    """
    n, m = sum(live), sum(reference)
    if not n or not m:
        return 0.0
    apart = [abs(x / n - y / m) for x, y in zip(accumulate(live), accumulate(reference), strict=True)]
    widths = [after / 2 - before / 2 for before, after in pairwise(cuts)]
    total = fsum(width * (a + b) for width, (a, b) in zip(widths, pairwise(apart[:-1]), strict=True))
    return min(total, 1.7e308)


def chi_square_exceeds(statistic: float, freedom: int) -> float:
    """P(χ² > statistic) with so many degrees of freedom: the regularised incomplete gamma function Q."""
    half = statistic / 2  # 0 of the smallest float too
    return _upper_gamma(freedom / 2, half) if half > 0 else 1.0


@lru_cache(CACHED)
def chi_square_quantile(level: float, freedom: int) -> float:
    """The value that χ² exceeds with probability 1 − level, by bisection."""
    low, high = 0.0, 2.0 * freedom
    while chi_square_exceeds(high, freedom) > 1 - level and high < 1e300:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if chi_square_exceeds(middle, freedom) > 1 - level else (low, middle)
    return (low + high) / 2


def _upper_gamma(a: float, x: float) -> float:
    """Q(a, x): a series below a + 1, a continued fraction above (Abramowitz & Stegun 6.5.29 and 6.5.31)."""
    log_scale = a * log(x) - x - lgamma(a)
    if log_scale < -745:  # beyond what a float holds
        return 1.0 if x < a else 0.0
    scale = exp(log_scale)
    if x < a + 1:
        return min(max(1 - scale * _gamma_series(a, x), 0.0), 1.0)
    return min(scale * _gamma_fraction(a, x), 1.0)


def _gamma_series(a: float, x: float) -> float:
    total = term = 1 / a
    for k in range(1, _MOST_TERMS):
        term *= x / (a + k)
        total += term
        if term < total * _CONVERGED:
            break
    return total


def _gamma_fraction(a: float, x: float) -> float:
    """Lentz's method."""
    b = x + 1 - a
    c, d = inf, 1 / b
    total = d
    for k in range(1, _MOST_TERMS):
        part = -k * (k - a)
        b += 2
        d = 1 / (part * d + b or _SMALLEST)
        c = b + part / c or _SMALLEST
        total *= c * d
        if abs(c * d - 1) < _CONVERGED:
            break
    return total
