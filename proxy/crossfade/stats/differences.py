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

from crossfade.stats.sequential import CACHED, GRID, Logs, Tosses, log_mean_exp, summed

LOWEST, HIGHEST = 0.01, 0.95  # of the stake that could lose everything
SHIFT_POINTS = 12
SHIFT_STAKES = tuple(
    exp(log(LOWEST) + log(HIGHEST / LOWEST) * j / (SHIFT_POINTS - 1)) for j in range(SHIFT_POINTS)
)

Terms = tuple[tuple[float, float, float], ...]
NO_BET: Terms = ((0.0, 0.0, 0.0),)  # of a share of 0 or 1


def log_e_increase(strata: Iterable[Tosses], margin: float) -> float:
    """Log e-value against "events are at most `margin` likelier here than on the rest", of `n` and `rest_n`.

    c = 0; λ_j = (g_j − 1)/((w g_j + 1 − w)(1 + (1 − w)m)), which for m = 0 is a ratio of g_j.
    """
    return log_mean_exp(summed(increase_logs(tosses, margin) for tosses in strata))


def increase_logs(tosses: Tosses, margin: float) -> Logs:
    """The log wealth of one stratum for each λ."""
    return wealth(tosses, increase_terms(tosses.share, margin))


def wealth(tosses: Tosses, terms: Terms) -> Logs:
    x, y = tosses.here, tosses.rest
    others = tosses.n + tosses.rest_n - x - y
    return [x * a + y * b + others * c for a, b, c in terms]


@lru_cache(CACHED)
def increase_terms(share: float, margin: float) -> Terms:
    if not 0 < share < 1:
        return NO_BET * len(GRID)
    stakes = [(g - 1) / ((share * g + 1 - share) * (1 + (1 - share) * margin)) for g in GRID]
    return log_factors(stakes, share, share * (1 - share) * margin)


def log_factors(stakes: Iterable[float], share: float, drift: float) -> Terms:
    """Those of an event here, an event on the rest, and a request without one; a negative stake bets the other way."""
    return tuple(
        (log1p(s * (1 - share - drift)), log1p(-s * (share + drift)), log1p(-s * drift)) for s in stakes
    )


def log_e_within(strata: Iterable[Tosses], margin: float) -> float:
    """Log e-value against "events are at least `margin` likelier here": that the margin is kept, which must be > 0.

    Π(1 − λZ). A request without an event is evidence too, so two sides without any errors end it as well.
    """
    return log_mean_exp(summed(within_logs(tosses, margin) for tosses in strata)) if margin > 0 else 0.0


def within_logs(tosses: Tosses, margin: float) -> Logs:
    return wealth(tosses, within_terms(tosses.share, margin))


@lru_cache(CACHED)
def within_terms(share: float, margin: float) -> Terms:
    if not 0 < share < 1:
        return NO_BET * SHIFT_POINTS
    drift = share * (1 - share) * margin
    return log_factors([-t / (1 - share - drift) for t in SHIFT_STAKES], share, drift)


def gain_increase(share: float, p_here: float, p_rest: float, margin: float) -> float:
    """Expected growth of the log e-value per request *here*, of the λ that grows most; 0 if none does."""
    if not 0 < share < 1:
        return 0.0
    x, y = share * p_here, (1 - share) * p_rest
    growth = max(x * a + y * b + (1 - x - y) * c for a, b, c in increase_terms(share, margin))
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
    terms = shift_terms(cut.share, centre, margin)
    return [x * a + x_not * b + y * c + y_not * d for a, b, c, d in terms]


@lru_cache(CACHED)
def shift_terms(share: float, centre: float, margin: float) -> tuple[tuple[float, float, float, float], ...]:
    """Log factors, in the order of a cut."""
    drift = share * (1 - share) * margin
    payoffs = (
        (1 - share) * (1 - centre) - drift,
        -(1 - share) * centre - drift,
        -share * (1 - centre) - drift,
        share * centre - drift,
    )
    stakes = [t / -min(payoffs) for t in SHIFT_STAKES]
    return tuple((a, b, c, d) for a, b, c, d in ([log1p(s * z) for z in payoffs] for s in stakes))
