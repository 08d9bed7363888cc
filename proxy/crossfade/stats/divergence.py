"""Whether two sides predict alike: tests on bins of scores, valid at every look.

Rule: a new model *should* predict differently, so a difference alone never fails a check; a distance beyond
the limit does. All strata have the same cuts, and each test sums over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import fsum, lgamma, log
from typing import NamedTuple

from crossfade.stats.differences import Cut, shift_logs
from crossfade.stats.sequential import Logs, SplitCounts, log_e_better, log_e_worse, log_mean_exp, sum_logs

_STRENGTHS = (30.0, 100.0, 300.0)  # of the Beta priors


class SplitBins(NamedTuple):
    """Scores of one stratum by bin, on the side under test and on the other.

    `share`: the probability with which a request went to the side under test.
    """

    share: float
    here: Sequence[int]
    rest: Sequence[int]


def distance_logs(strata: Sequence[SplitBins], levels: Sequence[float], limit: float) -> Logs:
    """Log wealth against "no cumulative share differs by more than `limit`" (the Kolmogorov-Smirnov distance).

    One value for each cut, direction and stake (`differences.shift_logs`); their mean (`log_mean_exp`) is the log
    e-value. `levels`: the share of scores up to each cut, known beforehand; a wrong level costs power, not validity.
    """
    directions: list[list[Logs]] = [[] for _ in range(2 * len(levels))]
    for share, here, rest in strata:
        n, rest_n, up_to = sum(here), sum(rest), zip(accumulate(here), accumulate(rest), levels, strict=False)
        for i, (x, y, level) in enumerate(up_to):
            cut = Cut(share, x, n - x, y, rest_n - y)
            other = Cut(share, n - x, x, rest_n - y, y)
            directions[2 * i].append(shift_logs(cut, level, limit))
            directions[2 * i + 1].append(shift_logs(other, 1 - level, limit))
    return [log_wealth for logs in directions for log_wealth in sum_logs(logs)]


def log_e_band(strata: Sequence[SplitBins], rho: float) -> float:
    """Log e-value against "each bin and each tail is between 1/ρ and ρ times as likely here".

    The mean over ranges of two-sample tests in both directions (statistics 1.4). It is not the product, because
    ranges inside the band lose evidence. Ranges are the bins, and the scores up to and above each cut. ρ ≥ 1.
    """
    return log_mean_exp([_log_e_range(counts, rho) for counts in _bin_ranges(strata)] or [0.0])


def _log_e_range(counts: Sequence[SplitCounts], rho: float) -> float:
    """Log e-value against "this range is between 1/ρ and ρ times as likely here", in both directions."""
    return log_mean_exp([log_e_worse(counts, rho), log_e_better(counts, 1 / rho)])


def _bin_ranges(strata: Sequence[SplitBins]) -> Iterator[list[SplitCounts]]:
    """Event counts of each range of bins, by stratum."""
    bins = len(strata[0].here) if strata else 0
    ranges = [(i, i + 1) for i in range(bins)]
    ranges += [(0, i) for i in range(2, bins)] + [(i, bins) for i in range(1, bins - 1)]
    for i, j in ranges:
        yield [SplitCounts(share, sum(here[i:j]), sum(rest[i:j])) for share, here, rest in strata]


def log_e_differ(strata: Sequence[SplitBins]) -> float:
    """Log e-value against "both sides have the same distribution", for display only. Answers of one side may be missing.

    Mean over k of Π_b B(kw + c_b, k(1 − w) + d_b)/B(kw, k(1 − w)), a Beta mixture for each bin b with c_b scores here
    and d_b on the other side, divided by the largest likelihood of any share (universal inference: Wasserman, Ramdas,
    Balakrishnan 2020). Each score belongs to one bin, so the product over bins and strata is a martingale.
    """
    return log_mean_exp(
        [fsum(_log_beta_mixture(s, k) - _max_log_likelihood(s) for s in strata) for k in _STRENGTHS]
    )


def _log_beta_mixture(found: SplitBins, k: float) -> float:
    a, b = k * found.share, k * (1 - found.share)
    known = _log_beta(a, b)
    return fsum(_log_beta(a + c, b + d) - known for c, d in zip(found.here, found.rest, strict=True))


def _max_log_likelihood(found: SplitBins) -> float:
    c, d = sum(found.here), sum(found.rest)
    return fsum(x * log(x / (c + d)) for x in (c, d) if x)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def ks_distance(here: Sequence[int], rest: Sequence[int]) -> float:
    """Kolmogorov-Smirnov distance at the cuts: the largest difference of cumulative shares; 0 if a side is empty."""
    n, m = sum(here), sum(rest)
    if not n or not m:
        return 0.0
    return max(abs(x / n - y / m) for x, y in zip(accumulate(here), accumulate(rest), strict=True))


def stability_index(here: Sequence[int], rest: Sequence[int]) -> float:
    """Population stability index, Σ (p − q) log(p/q) over bins, half a score added to each; for display only.

    It is no test: without any change its expectation is about (bins − 1)(1/n + 1/m).
    """
    n, m = sum(here) + len(here) / 2, sum(rest) + len(rest) / 2
    pairs = [((x + 0.5) / n, (y + 0.5) / m) for x, y in zip(here, rest, strict=True)]
    return fsum((p - q) * log(p / q) for p, q in pairs)
