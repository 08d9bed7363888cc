"""Exact binomial intervals, with the standard library only: Locust's own image has no scipy.

A customer's bucket is a uniform hash, and a backend holds exactly its weight in buckets; so of n
customers the number that falls to a backend is Binomial(n, weight), with nothing left to estimate.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p

CONFIDENCE = 0.999


def log_probability(k: int, n: int, p: float) -> float:
    """Natural logarithm of P(X = k) for X ~ Binomial(n, p), 0 < p < 1."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p)


def lower_bound(n: int, p: float, risk: float) -> int:
    """The smallest k with P(X ≤ k) > risk: X falls below it with a probability of at most `risk`."""
    if p <= 0 or n == 0:
        return 0
    if p >= 1:
        return n
    below = 0.0
    for k in range(n):
        below += exp(log_probability(k, n, p))
        if below > risk:
            return k
    return n


def upper_bound(n: int, p: float, risk: float) -> int:
    """X rises above it with a probability of at most `risk`."""
    return n - lower_bound(n, 1 - p, risk)


def interval(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The counts that X takes with at least this probability, an equal risk left on either side."""
    risk = (1 - confidence) / 2
    return lower_bound(n, p, risk), upper_bound(n, p, risk)
