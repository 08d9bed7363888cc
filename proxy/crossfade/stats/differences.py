"""Differences of event probabilities between two sides: betting e-processes, valid at every look.

Rule: a request goes to the side under test ("here") with known probability w, and has an event or not. Whatever
came before, and however the base rate moves, with I = 1 for an event, A = 1 for a request here, and any fixed c,

    Z = (A − w)(I − c) − w(1 − w)m     has mean     w(1 − w)(p_here − p_rest − m)

which is at most 0 under "the event probability is at most m (absolute) higher here". So the wealth Π(1 + λZ) is a
supermartingale for each stake λ > 0 that keeps it positive, and so is its mean over fixed stakes. It is a product
of few distinct factors, so it needs counts only. (Betting on a bounded mean: Waudby-Smith & Ramdas, JRSS-B
2024; (A − w) as in Shekhar & Ramdas; that counts suffice for a fixed λ is our own remark.)
Requests of one side may depend on each other. Only the assignment to a side must be random.

With c = 0 and m = 0 this is the two-sample test of `sequential`, alternative by alternative. A c near the
event probability removes most of the variance that the random assignment adds when events are common.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import exp, log, log1p
from typing import NamedTuple

from crossfade.stats.sequential import CACHED, GRID, Logs, SplitCounts, log_mean_exp, sum_logs

_LOWEST_STAKE, _HIGHEST_STAKE = 0.01, 0.95  # shares of the largest stake that keeps the wealth positive
_STAKE_COUNT = 12
STAKES = tuple(
    exp(log(_LOWEST_STAKE) + log(_HIGHEST_STAKE / _LOWEST_STAKE) * j / (_STAKE_COUNT - 1))
    for j in range(_STAKE_COUNT)
)

_Factors = tuple[tuple[float, float, float], ...]
_NO_BET: _Factors = ((0.0, 0.0, 0.0),)  # at a share of 0 or 1 there is nothing to compare


def log_e_increase(strata: Iterable[SplitCounts], margin: float) -> float:
    """Log e-value against "the event probability is at most `margin` (absolute) higher here"; needs `n` and `rest_n`.

    c = 0; λ_j = (g_j − 1)/((w g_j + 1 − w)(1 + (1 − w)m)), which for m = 0 is the alternative of a ratio g_j.
    """
    return log_mean_exp(sum_logs(increase_logs(counts, margin) for counts in strata))


def increase_logs(counts: SplitCounts, margin: float) -> Logs:
    """The log wealth of one stratum for each stake of `log_e_increase`."""
    return _log_wealth(counts, _increase_factors(counts.share, margin))


def _log_wealth(counts: SplitCounts, factors: _Factors) -> Logs:
    x, y = counts.here, counts.rest
    others = counts.n + counts.rest_n - x - y
    return [x * a + y * b + others * c for a, b, c in factors]


@lru_cache(CACHED)
def _increase_factors(share: float, margin: float) -> _Factors:
    if not 0 < share < 1:
        return _NO_BET * len(GRID)
    stakes = [(g - 1) / ((share * g + 1 - share) * (1 + (1 - share) * margin)) for g in GRID]
    return _log_factors(stakes, share, share * (1 - share) * margin)


def _log_factors(stakes: Iterable[float], share: float, drift: float) -> _Factors:
    """Log factors of an event here, an event on the other side, and a request without an event, for each stake.

    A negative stake bets on a smaller difference.
    """
    return tuple(
        (log1p(s * (1 - share - drift)), log1p(-s * (share + drift)), log1p(-s * drift)) for s in stakes
    )


def log_e_within(strata: Iterable[SplitCounts], margin: float) -> float:
    """Log e-value against "the event probability is at least `margin` higher here": proof that the margin is kept.

    Π(1 − λZ). A request without an event is evidence too, so it grows even without events. 0 if margin ≤ 0.
    """
    return log_mean_exp(sum_logs(_within_logs(counts, margin) for counts in strata)) if margin > 0 else 0.0


def _within_logs(counts: SplitCounts, margin: float) -> Logs:
    return _log_wealth(counts, _within_factors(counts.share, margin))


@lru_cache(CACHED)
def _within_factors(share: float, margin: float) -> _Factors:
    if not 0 < share < 1:
        return _NO_BET * _STAKE_COUNT
    drift = share * (1 - share) * margin
    return _log_factors([-t / (1 - share - drift) for t in STAKES], share, drift)


def gain_increase(share: float, p_here: float, p_rest: float, margin: float) -> float:
    """Expected growth of the log e-value in nats per request *here*, for the stake that grows most; 0 if none does."""
    if not 0 < share < 1:
        return 0.0
    x, y = share * p_here, (1 - share) * p_rest
    growth = max(x * a + y * b + (1 - x - y) * c for a, b, c in _increase_factors(share, margin))
    return max(growth, 0.0) / share


class Cut(NamedTuple):
    """Requests of one stratum: with an event and without, on the side under test and on the other."""

    share: float
    here: int
    here_not: int
    rest: int
    rest_not: int


def shift_logs(cut: Cut, centre: float, margin: float) -> Logs:
    """The log wealth for each stake against "the event probability is at most `margin` higher here".

    For events whose probability is about `centre` (c in the formula), which is known beforehand. λ_j from 1 % to
    95 % of what keeps every factor positive. 0 < centre < 1 and 0 < share < 1.
    """
    _, x, x_not, y, y_not = cut
    factors = _shift_factors(cut.share, centre, margin)
    return [x * a + x_not * b + y * c + y_not * d for a, b, c, d in factors]


@lru_cache(CACHED)
def _shift_factors(
    share: float, centre: float, margin: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Log factors for each stake, in the order of the fields of `Cut`."""
    drift = share * (1 - share) * margin
    payoffs = (
        (1 - share) * (1 - centre) - drift,
        -(1 - share) * centre - drift,
        -share * (1 - centre) - drift,
        share * centre - drift,
    )
    stakes = [t / -min(payoffs) for t in STAKES]
    return tuple((a, b, c, d) for a, b, c, d in ([log1p(s * z) for z in payoffs] for s in stakes))
