"""Exact binomial intervals with the standard library only: the image of Locust has no scipy.

The bucket of a customer is a uniform hash, and the share of a backend's buckets is exactly its weight.
So the number of n customers with a backend is Binomial(n, weight); no parameter is estimated.
"""

from __future__ import annotations

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
