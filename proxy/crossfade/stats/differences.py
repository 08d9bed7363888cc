"""Differences of shares between the two sides of a known coin: bets that are right at every look.

Rule: each request is tossed here with probability w, and has an event or not. Whatever came before,
and however the base rate moves, with I = 1 for an event, A = 1 for a request here, and any fixed c,

    Z = (A − w)(I − c) − w(1 − w)m     has mean     w(1 − w)(p_here − p_rest − m)

which is at most 0 under "events are at most m (absolute) likelier here". So Π(1 + λZ) is a
supermartingale for each λ > 0 that keeps it positive, and so is the mean over fixed λ. It is a product
of few distinct factors, so it needs counts only. (Betting on a bounded mean: Waudby-Smith & Ramdas,
JRSS-B 2024; (A − w) as in Shekhar & Ramdas; that counts suffice for a fixed λ is our own remark.)
Requests on one side may depend on each other: nothing is asked of them, only of the coin.

With c = 0 and m = 0 this is the two-arm test of `sequential`, alternative by alternative. A c near the
share itself takes the noise of the coin out of events that are common.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import exp, log, log1p
from typing import NamedTuple

from crossfade.stats.sequential import CACHED, GRID, Logs, SplitCounts, log_mean_exp, sum_logs

_LOWEST_STAKE, _HIGHEST_STAKE = 0.01, 0.95  # of the stake that could lose everything
_STAKE_COUNT = 12
STAKES = tuple(
    exp(log(_LOWEST_STAKE) + log(_HIGHEST_STAKE / _LOWEST_STAKE) * j / (_STAKE_COUNT - 1))
    for j in range(_STAKE_COUNT)
)

_Factors = tuple[tuple[float, float, float], ...]
_NO_BET: _Factors = ((0.0, 0.0, 0.0),)  # of a share of 0 or 1


def log_e_increase(strata: Iterable[SplitCounts], margin: float) -> float:
    """Log e-value against "events are at most `margin` likelier here than on the rest", of `n` and `rest_n`.

    c = 0; λ_j = (g_j − 1)/((w g_j + 1 − w)(1 + (1 − w)m)), which for m = 0 is a ratio of g_j.
    """
    return log_mean_exp(sum_logs(increase_logs(tosses, margin) for tosses in strata))


def increase_logs(tosses: SplitCounts, margin: float) -> Logs:
    """The log wealth of one stratum for each λ."""
    return _log_wealth(tosses, _increase_factors(tosses.share, margin))


def _log_wealth(tosses: SplitCounts, terms: _Factors) -> Logs:
    x, y = tosses.here, tosses.rest
    others = tosses.n + tosses.rest_n - x - y
    return [x * a + y * b + others * c for a, b, c in terms]


@lru_cache(CACHED)
def _increase_factors(share: float, margin: float) -> _Factors:
    if not 0 < share < 1:
        return _NO_BET * len(GRID)
    stakes = [(g - 1) / ((share * g + 1 - share) * (1 + (1 - share) * margin)) for g in GRID]
    return _log_factors(stakes, share, share * (1 - share) * margin)


def _log_factors(stakes: Iterable[float], share: float, drift: float) -> _Factors:
    """Those of an event here, an event on the rest, and a request without one; a negative stake bets the other way."""
    return tuple(
        (log1p(s * (1 - share - drift)), log1p(-s * (share + drift)), log1p(-s * drift)) for s in stakes
    )


def log_e_within(strata: Iterable[SplitCounts], margin: float) -> float:
    """Log e-value against "events are at least `margin` likelier here": that the margin is kept, which must be > 0.

    Π(1 − λZ). A request without an event is evidence too, so two sides without any errors end it as well.
    """
    return log_mean_exp(sum_logs(_within_logs(tosses, margin) for tosses in strata)) if margin > 0 else 0.0


def _within_logs(tosses: SplitCounts, margin: float) -> Logs:
    return _log_wealth(tosses, _within_factors(tosses.share, margin))


@lru_cache(CACHED)
def _within_factors(share: float, margin: float) -> _Factors:
    if not 0 < share < 1:
        return _NO_BET * _STAKE_COUNT
    drift = share * (1 - share) * margin
    return _log_factors([-t / (1 - share - drift) for t in STAKES], share, drift)


def gain_increase(share: float, p_here: float, p_rest: float, margin: float) -> float:
    """Expected growth of the log e-value per request *here*, of the λ that grows most; 0 if none does."""
    if not 0 < share < 1:
        return 0.0
    x, y = share * p_here, (1 - share) * p_rest
    growth = max(x * a + y * b + (1 - x - y) * c for a, b, c in _increase_factors(share, margin))
    return max(growth, 0.0) / share


class Cut(NamedTuple):
    """Requests of one stratum: those with an event and those without, here and on the rest."""

    share: float
    here: int
    here_not: int
    rest: int
    rest_not: int


def log_e_shift(cut: Cut, centre: float, margin: float) -> float:
    """As `log_e_increase`, of events whose share is about `centre`, which is known beforehand.

    λ_j from 1 % to 95 % of what keeps every factor positive. 0 < centre < 1 and 0 < share < 1.
    """
    return log_mean_exp(shift_logs(cut, centre, margin))


def shift_logs(cut: Cut, centre: float, margin: float) -> Logs:
    _, x, x_not, y, y_not = cut
    terms = _shift_factors(cut.share, centre, margin)
    return [x * a + x_not * b + y * c + y_not * d for a, b, c, d in terms]


@lru_cache(CACHED)
def _shift_factors(
    share: float, centre: float, margin: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Log factors, in the order of a cut."""
    drift = share * (1 - share) * margin
    payoffs = (
        (1 - share) * (1 - centre) - drift,
        -(1 - share) * centre - drift,
        -share * (1 - centre) - drift,
        share * centre - drift,
    )
    stakes = [t / -min(payoffs) for t in STAKES]
    return tuple((a, b, c, d) for a, b, c, d in ([log1p(s * z) for z in payoffs] for s in stakes))
