"""Late changes: sequential tests that are also started again at later moments, valid at every look.

A test from the start must first make up for the evidence before the change. So half of the initial wealth
is on the test from the start, and half is spread evenly over at most SLOTS tests that begin later:

    E = ½·E⁰ + ½/SLOTS·(Σ_k E^(k) + slots not used yet),    E^(k) = E from mark k on

This is a convex combination of e-processes, and each mark depends only on what came before it, so E is an
e-process (statistics 1.1; the e-detectors of Shin, Ramdas and Rinaldo use the same). It costs log 2 at the start.

Rule: the only state is the integer counts at each mark. L_j since mark k is L_j now divided by L_j at the mark, so
Σ_k E^(k) = mean_j L_j·Σ_k 1/L_j(mark k), and the inner sum changes only when a mark is set. One test has SLOTS
slots for all its strata together: a test that began in one stratum continues in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, inf, log, log1p

from crossfade.stats.differences import increase_logs
from crossfade.stats.sequential import (
    POINTS,
    Logs,
    SplitCounts,
    above_logs,
    log_mean_exp,
    ratio_logs,
    sum_logs,
)

SLOTS = 99
_FIRST_GAP = 25  # trials between marks at least, and
_GAP_GROWTH = 0.1  # this share of those before, so that 99 slots reach beyond a million trials
_CACHED_SUMS = 2048  # inner sums: of 50 routes with 8 checks each, some of which take eight
_NO_MARKS = [-inf] * POINTS

Marks = tuple[SplitCounts, ...]


def is_mark_due(trials: int, last: int, used: int) -> bool:
    """Whether to set a mark. `last`: the trials at the mark before; `used`: how many marks are set."""
    return used < SLOTS and trials >= last + max(_FIRST_GAP, _GAP_GROWTH * last)


def log_e_worse_restarted(
    strata: Sequence[SplitCounts], d0: float, marks: Sequence[Marks], spent: int = 0
) -> float:
    """`log_e_worse` with restarts; `marks`: for each stratum, its counts at each mark, in order."""
    logs = [ratio_logs(counts, d0, 1) for counts in strata]
    return _restarted(logs, [_inverse_worse(m, d0) for m in marks], marks, spent)


def log_e_above_restarted(
    strata: Sequence[SplitCounts], p0: float, marks: Sequence[Marks], spent: int = 0
) -> float:
    """`log_e_above` of `here` among `n`, with restarts; `marks`: for each stratum, its counts at each mark, in order."""
    logs = [above_logs(counts.here, counts.n, p0) for counts in strata]
    return _restarted(logs, [_inverse_above(m, p0) for m in marks], marks, spent)


def log_e_increase_restarted(
    strata: Sequence[SplitCounts], margin: float, marks: Sequence[Marks], spent: int = 0
) -> float:
    """`log_e_increase` with restarts; `marks`: for each stratum, its counts at each mark, in order."""
    logs = [increase_logs(counts, margin) for counts in strata]
    return _restarted(logs, [_inverse_increase(m, margin) for m in marks], marks, spent)


def _restarted(
    strata: Sequence[Logs], inverses: Sequence[Logs], marks: Sequence[Marks], spent: int = 0
) -> float:
    """`strata`: log L_j of each; `inverses`: log Σ_k 1/L_j(mark k) of each, with L_j of that stratum alone.

    Before a mark lie its own stratum up to the mark, and all earlier strata. `spent`: slots whose wealth was given up.
    """
    start = log_mean_exp(sum_logs(strata)) if strata else 0.0
    used = sum(map(len, marks)) + spent
    slots = max(SLOTS, used)  # callers keep to SLOTS
    if used == spent:
        return _log_half_sum(start, -inf, (slots - used) / slots)
    since, later = _NO_MARKS, [0.0] * POINTS  # log Σ_k L_j since mark k; log L_j of the later strata
    for logs, inverse in zip(reversed(strata), reversed(inverses), strict=True):
        later = [a + b for a, b in zip(later, logs, strict=True)]
        here = [b + c for b, c in zip(later, inverse, strict=True)]
        # The last stratum is mostly the only one. To add to nothing gives the same, but takes a third of an evaluation.
        since = here if since is _NO_MARKS else list(map(log_add_exp, since, here))
    return _log_half_sum(start, log_mean_exp(since) - log(slots), (slots - used) / slots)


def log_add_exp(a: float, b: float) -> float:
    """log(eᵃ + eᵇ)."""
    high, low = max(a, b), min(a, b)
    return high + log1p(exp(low - high)) if high > -inf else high


def _log_half_sum(a: float, b: float, plain: float = 0.0) -> float:
    """log ½(eᵃ + eᵇ + plain). When all slots are used, `plain` is 0, and a and b may be so small that e⁰ hides both."""
    rest = log(plain) if plain > 0 else -inf
    top = max(a, b, rest)
    return top + log((exp(a - top) + exp(b - top) + exp(rest - top)) / 2)


@lru_cache(_CACHED_SUMS)
def _inverse_worse(marks: Marks, d0: float) -> Logs:
    if not marks:
        return _NO_MARKS
    return _add_inverse(_inverse_worse(marks[:-1], d0), ratio_logs(marks[-1], d0, 1))


@lru_cache(_CACHED_SUMS)
def _inverse_above(marks: Marks, p0: float) -> Logs:
    if not marks:
        return _NO_MARKS
    return _add_inverse(_inverse_above(marks[:-1], p0), above_logs(marks[-1].here, marks[-1].n, p0))


@lru_cache(_CACHED_SUMS)
def _inverse_increase(marks: Marks, margin: float) -> Logs:
    if not marks:
        return _NO_MARKS
    return _add_inverse(_inverse_increase(marks[:-1], margin), increase_logs(marks[-1], margin))


def _add_inverse(inverse: Logs, mark: Logs) -> Logs:
    """log(eˢ + e⁻ˡ) for each alternative: s the inverse sum so far, l the log likelihood ratio at the mark."""
    return [log_add_exp(a, -b) for a, b in zip(inverse, mark, strict=True)]
