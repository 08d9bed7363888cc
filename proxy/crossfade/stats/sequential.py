"""Tests that stay right however often one looks at them: log e-values from event counts.

Rule (Ville's inequality): under its hypothesis an e-process starts at 1 and is expected never to
rise, so P(it ever reaches 1/α) ≤ α. Reject when the log e-value is at least `bound(alpha)`, at
any look. All evidence is integer counts, so merging is addition and the order does not matter.

Two arms: the proxy tosses a coin of known `share` for each request. Of the *events* (errors, slow
answers) the arm under test holds w·δ/(w·δ + 1 − w) when they are δ times as likely on it, whatever
the base rate does over time; so events are tosses of a coin that is known under the hypothesis
(Lindon & Malek, NeurIPS 2022; one-sided with a grid of alternatives and with strata of constant
share: each factor's expectation is monotone in the true ratio and 1 at d0, hence ≤ 1 below it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import exp, inf, log, log1p, sqrt
from typing import NamedTuple

POINTS = 24
_LOG_GRID = tuple(log(1.1) + (log(50) - log(1.1)) * j / (POINTS - 1) for j in range(POINTS))
GRID = tuple(exp(g) for g in _LOG_GRID)
_INVERSE_GRID = tuple(exp(-g) for g in _LOG_GRID)
LARGEST_SHARE = 0.999  # of an alternative in the one-sample test; keeps log(1 - q) finite
Logs = list[float]  # one for each alternative of the grid
CACHED = 512  # sets of terms: one for each limit and weight that is in use
_RATIO_RANGE = (1e-6, 1e6)  # where ratio limits are looked for; beyond it they are 0 and infinity


class SplitCounts(NamedTuple):
    """Events while the arm under test drew `share` of the requests: `here` on it, of `n`, `rest` on the other, of `rest_n`."""

    share: float
    here: int
    rest: int
    n: int = 0
    rest_n: int = 0


def bound(alpha: float) -> float:
    """The log e-value at which a hypothesis is rejected at level alpha."""
    return -log(alpha)


def log_e_worse(strata: Iterable[SplitCounts], d0: float) -> float:
    """Log e-value against "an event is at most d0 times as likely here"; alternatives are d0·g_j."""
    return _log_e_ratio(strata, d0, 1)


def log_e_better(strata: Iterable[SplitCounts], d0: float) -> float:
    """Log e-value against "an event is at least d0 times as likely here"; alternatives are d0/g_j."""
    return _log_e_ratio(strata, d0, -1)


def _log_e_ratio(strata: Iterable[SplitCounts], d0: float, direction: int) -> float:
    """log mean_j exp Σ_s [x log(δ_j/d0) − (x+y) log((wδ_j + 1 − w)/(w d0 + 1 − w))], δ_j = d0·g_j^direction.

    The sum over strata is inside the exponent: one alternative has to explain all of them.
    """
    return log_mean_exp(sum_logs(ratio_logs(tosses, d0, direction) for tosses in strata))


def ratio_logs(tosses: SplitCounts, d0: float, direction: int) -> Logs:
    """The log likelihood ratio of one stratum for each alternative."""
    gained, events = direction * tosses.here, tosses.here + tosses.rest
    terms = _ratio_terms(tosses.share, d0, direction)
    return [gained * g - events * under for g, under in zip(_LOG_GRID, terms, strict=True)]


@lru_cache(CACHED)
def _ratio_terms(share: float, d0: float, direction: int) -> tuple[float, ...]:
    """log((wδ_j + 1 − w)/(w d0 + 1 − w)) for each alternative."""
    times = GRID if direction > 0 else _INVERSE_GRID
    odds, others = share * d0, 1 - share
    under = log(odds + others)
    return tuple(log(odds * t + others) - under for t in times)


def log_e_above(x: int, n: int, p0: float) -> float:
    """Log e-value against "the share of x among n is at most p0": binomial, alternatives p0·g_j.

    Takes trials to be independent; a shared outage is not, so callers look at the other arm too.
    """
    return log_mean_exp(above_logs(x, n, p0))


def above_logs(x: int, n: int, p0: float) -> Logs:
    """The log likelihood ratio for each alternative."""
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
    """By alternative; zeros when there are none."""
    found = list(logs)
    if len(found) == 1:
        return found[0]
    return [sum(column) for column in zip(*found, strict=True)] or [0.0] * POINTS


def log_mean_exp(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + log(sum(map(exp, [v - top for v in logs])) / len(logs))


def ratio_interval(strata: Sequence[SplitCounts], alpha: float) -> tuple[float, float]:
    """Limits of the ratio of event probabilities that hold at all looks together, with 1 − alpha.

    Inversion: the largest d0 that "worse" rejects and the smallest that "better" rejects, alpha/2 each.
    """
    limit = bound(alpha / 2)
    lower = _largest_ratio_where(lambda d0: log_e_worse(strata, d0) >= limit)
    upper = _largest_ratio_where(lambda d0: log_e_better(strata, d0) < limit)
    return lower, upper


def _largest_ratio_where(holds: Callable[[float], bool]) -> float:
    """Where a statement that holds for small ratios ceases to, by bisection on the logarithm."""
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
    """Expected growth of the one-sample log e-value per trial at a true share p: KL(p ‖ p0); 0 if p ≤ p0."""
    return _kl(p, p0) if p > p0 else 0.0


def gain_worse(share: float, p_here: float, p_rest: float, d0: float) -> float:
    """Expected growth of the two-arm log e-value per request *here*: q·KL(π ‖ π0)/w; 0 if ratio ≤ d0.

    q is the probability that a request makes an event, π that the event is here (the Wald bound is
    log(1/α) over this gain).
    """
    events = share * p_here + (1 - share) * p_rest
    if p_here <= d0 * p_rest or events <= 0 or not 0 < share < 1:
        return 0.0
    under = share * d0 / (share * d0 + 1 - share)
    return events * _kl(share * p_here / events, under) / share


def _kl(p: float, p0: float) -> float:
    """Kullback-Leibler divergence of two coins, in nats."""
    heads = p * log(p / p0) if p > 0 else 0.0
    tails = (1 - p) * log((1 - p) / (1 - p0)) if p < 1 else 0.0
    return heads + tails


def wilson(x: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share, for display only: it holds at one look, not at all of them."""
    if n == 0:
        return 0.0, 1.0
    p, zz = x / n, z * z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)
