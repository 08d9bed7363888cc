"""Sequential tests, valid at every look: log e-values from event counts.

Rule (Ville's inequality): under its null hypothesis an e-process starts at 1 and its expectation never
rises, so P(it ever reaches 1/α) ≤ α. Reject when the log e-value is at least `bound(alpha)`, at any look.
All evidence is integer counts, so merging is addition and the order does not matter.

Two-sample test: each request goes to the side under test ("here") with known probability w (`share`). If
events (errors, slow answers) are δ times as likely here, a share w·δ/(w·δ + 1 − w) of the events is here,
whatever the base rate does over time. So under the null hypothesis the side of each event is a Bernoulli
trial with known probability (Lindon & Malek, NeurIPS 2022; here one-sided, with a grid of alternatives and
strata of constant share: each factor's expectation is monotone in the true ratio and 1 at d0, hence ≤ 1 below it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import exp, fsum, inf, isinf, log, log1p, sqrt
from typing import NamedTuple

POINTS = 24
_LOG_GRID = tuple(log(1.1) + (log(50) - log(1.1)) * j / (POINTS - 1) for j in range(POINTS))
GRID = tuple(exp(g) for g in _LOG_GRID)
_INVERSE_GRID = tuple(exp(-g) for g in _LOG_GRID)
LARGEST_SHARE = 0.999  # largest alternative of the one-sample test; keeps log(1 - q) finite
Logs = list[float]  # one log likelihood ratio for each alternative of the grid
CACHED = 512  # cached sets of log factors: one for each limit and weight in use
_RATIO_RANGE = (1e-6, 1e6)  # search range of ratio limits; outside it they are 0 and infinity


class SplitCounts(NamedTuple):
    """Events of one stratum: `here` among `n` requests of the side under test, `rest` among `rest_n` of the other.

    `share`: the probability, 0 to 1, with which a request went to the side under test.
    """

    share: float
    here: int
    rest: int
    n: int = 0
    rest_n: int = 0


def bound(alpha: float) -> float:
    """The log e-value at which a hypothesis is rejected at level alpha: log(1/α), in nats."""
    return -log(alpha)


def log_e_worse(strata: Iterable[SplitCounts], d0: float) -> float:
    """Log e-value against "an event is at most d0 times as likely here"; alternatives are d0·g_j."""
    return _log_e_ratio(strata, d0, 1)


def log_e_better(strata: Iterable[SplitCounts], d0: float) -> float:
    """Log e-value against "an event is at least d0 times as likely here"; alternatives are d0/g_j."""
    return _log_e_ratio(strata, d0, -1)


def _log_e_ratio(strata: Iterable[SplitCounts], d0: float, direction: int) -> float:
    """log mean_j exp Σ_s [x log(δ_j/d0) − (x+y) log((wδ_j + 1 − w)/(w d0 + 1 − w))], δ_j = d0·g_j^direction.

    The sum over strata is inside the exponent, so each alternative is tested on all strata together.
    """
    return log_mean_exp(sum_logs(ratio_logs(counts, d0, direction) for counts in strata))


def ratio_logs(counts: SplitCounts, d0: float, direction: int) -> Logs:
    """Log likelihood ratio of one stratum for each alternative: two-sample, alternatives d0·g_j^direction."""
    gained, events = direction * counts.here, counts.here + counts.rest
    factors = _ratio_terms(counts.share, d0, direction)
    return [gained * g - events * under for g, under in zip(_LOG_GRID, factors, strict=True)]


@lru_cache(CACHED)
def _ratio_terms(share: float, d0: float, direction: int) -> tuple[float, ...]:
    """log((wδ_j + 1 − w)/(w d0 + 1 − w)) for each alternative."""
    times = GRID if direction > 0 else _INVERSE_GRID
    odds, others = share * d0, 1 - share
    under = log(odds + others)
    return tuple(log(odds * t + others) - under for t in times)


def log_e_above(x: int, n: int, p0: float) -> float:
    """Log e-value against "the share of x among n is at most p0": binomial, alternatives p0·g_j.

    Assumes independent trials. A shared outage breaks that, so callers compare with the other side too. 0 < p0 < 1.
    """
    return log_mean_exp(above_logs(x, n, p0))


def log_e_above_all(strata: Iterable[SplitCounts], p0: float) -> float:
    """`log_e_above` of the side under test, over all strata together."""
    return log_mean_exp(sum_logs(above_logs(counts.here, counts.n, p0) for counts in strata))


def above_logs(x: int, n: int, p0: float) -> Logs:
    """Log likelihood ratio for each alternative of `log_e_above`."""
    return [x * hit + (n - x) * miss for hit, miss in _above_terms(p0)]


@lru_cache(CACHED)
def _above_terms(p0: float) -> tuple[tuple[float, float], ...]:
    """log(q_j/p0) and log((1 − q_j)/(1 − p0)) for each alternative."""
    shares = (max(min(p0 * g, LARGEST_SHARE), p0) for g in GRID)
    return tuple((log(q / p0), log1p(-q) - log1p(-p0)) for q in shares)


def log_e_below(x: int, n: int, p0: float) -> float:
    """Log e-value against "the share of x among n is at least p0": binomial, alternatives p0/g_j."""
    return log_mean_exp([x * hit + (n - x) * miss for hit, miss in _below_terms(p0)])


@lru_cache(CACHED)
def _below_terms(p0: float) -> tuple[tuple[float, float], ...]:
    return tuple((-g, log1p(-p0 * exp(-g)) - log1p(-p0)) for g in _LOG_GRID)


def sum_logs(logs: Iterable[Logs]) -> Logs:
    """The sum over strata for each alternative; zeros when there are none."""
    found = list(logs)
    if len(found) == 1:
        return found[0]
    return [fsum(column) for column in zip(*found, strict=True)] or [0.0] * POINTS


def log_mean_exp(logs: Sequence[float]) -> float:
    top = max(logs)
    if isinf(top):
        return top
    return top + log(fsum(map(exp, [v - top for v in logs])) / len(logs))


def ratio_interval(strata: Sequence[SplitCounts], alpha: float) -> tuple[float, float]:
    """Confidence sequence of the ratio of event probabilities: covers it at all looks together, with 1 − alpha.

    Test inversion: the largest d0 that `log_e_worse` rejects and the smallest that `log_e_better` rejects, alpha/2 each.
    """
    limit = bound(alpha / 2)
    lower = _largest_ratio_where(lambda d0: log_e_worse(strata, d0) >= limit)
    upper = _largest_ratio_where(lambda d0: log_e_better(strata, d0) < limit)
    return lower, upper


def _largest_ratio_where(holds: Callable[[float], bool]) -> float:
    """The largest ratio at which a statement holds that holds for all smaller ones, by bisection on the logarithm."""
    low, high = log(_RATIO_RANGE[0]), log(_RATIO_RANGE[1])
    if not holds(_RATIO_RANGE[0]):
        return 0.0
    if holds(_RATIO_RANGE[1]):
        return inf
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(exp(middle)) else (low, middle)
    return exp(low)


def gain_above(p: float, p0: float) -> float:
    """Expected growth of the one-sample log e-value per trial at a true share p: KL(p ‖ p0) nats; 0 if p ≤ p0."""
    return _kl(p, p0) if p > p0 else 0.0


def gain_worse(share: float, p_here: float, p_rest: float, d0: float) -> float:
    """Expected growth of the two-sample log e-value per request *here*: q·KL(π ‖ π0)/w nats; 0 if ratio ≤ d0.

    q is the probability that a request has an event, π the probability that this event is here. The Wald bound
    on the requests until rejection is log(1/α) divided by this gain.
    """
    events = share * p_here + (1 - share) * p_rest
    if p_here <= d0 * p_rest or events <= 0 or not 0 < share < 1:
        return 0.0
    under = share * d0 / (share * d0 + 1 - share)
    return events * _kl(share * p_here / events, under) / share


def _kl(p: float, p0: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    success = p * log(p / p0) if p > 0 else 0.0
    failure = (1 - p) * log((1 - p) / (1 - p0)) if p < 1 else 0.0
    return success + failure


def wilson(x: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share x/n, for display only: its coverage holds at one look, not at all looks."""
    if n == 0:
        return 0.0, 1.0
    p, zz = x / n, z * z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)
