"""Exact binomial intervals with the standard library only: the image of Locust has no scipy.

The bucket of a customer is a uniform hash, and the share of a backend's buckets is exactly its weight.
So the number of n customers with a backend is Binomial(n, weight); no parameter is estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log, log1p

CONFIDENCE = 0.999


def _log_probability(k: int, n: int, p: float) -> float:
    """Natural logarithm of P(X = k) for X ~ Binomial(n, p), 0 < p < 1."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p)


def lower_bound(n: int, p: float, risk: float) -> int:
    """The smallest k with P(X ≤ k) > risk, so that P(X < k) ≤ risk."""
    if p <= 0 or n == 0:
        return 0
    if p >= 1:
        return n
    below = 0.0
    for k in range(n):
        below += exp(_log_probability(k, n, p))
        if below > risk:
            return k
    return n


def upper_bound(n: int, p: float, risk: float) -> int:
    """The k with P(X > k) ≤ risk, by the symmetry of Binomial(n, p) and Binomial(n, 1 − p)."""
    return n - lower_bound(n, 1 - p, risk)


def interval(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Bounds that X keeps with at least this probability; the risk is the same on both sides."""
    risk = (1 - confidence) / 2
    return lower_bound(n, p, risk), upper_bound(n, p, risk)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability of which k of n trials came true."""
    risk = (1 - confidence) / 2
    low = 0.0 if k == 0 else _root(lambda p: _at_most(n - k, n, 1 - p), risk)  # P(X ≥ k) = risk
    high = 1.0 if k == n else _root(lambda p: 1 - _at_most(k, n, p), 1 - risk)  # P(X ≤ k) = risk
    return low, high


def _at_most(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X ~ Binomial(n, p), 0 < p < 1."""
    return sum(exp(_log_probability(i, n, p)) for i in range(k + 1))


def _root(rising: Callable[[float], float], value: float) -> float:
    """Where a rising function on (0, 1) has this value, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2
