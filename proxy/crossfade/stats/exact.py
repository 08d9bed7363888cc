"""Exact one-sided tests of few outcomes, for limits that act within seconds. They hold for one look, not for any number of looks."""

from __future__ import annotations

from math import exp, fsum, lgamma, log


def chance_of_split(here: int, n: int, rest: int, rest_n: int) -> float:
    """Fisher's exact test: of `here` events or more among these n, if all `here + rest` fell on n + rest_n units at random."""
    events = here + rest
    if not rest_n or here * (n + rest_n) <= events * n:
        return 1.0
    every = _log_choose(n + rest_n, events)
    ways = range(here, min(n, events) + 1)
    return fsum(exp(_log_choose(n, i) + _log_choose(rest_n, events - i) - every) for i in ways)


def chance_of_share(x: int, n: int, p: float) -> float:
    """Of x events or more among n independent units, each with probability p in (0, 1)."""
    if x <= n * p:
        return 1.0
    return fsum(exp(_log_choose(n, i) + i * log(p) + (n - i) * log(1 - p)) for i in range(x, n + 1))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
