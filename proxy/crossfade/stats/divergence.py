"""Whether two sides of a known coin predict alike: tests on bins of scores, right at every look.

Rule: a new model *should* predict otherwise, so "different at all" never fails anybody; what fails is a
distance beyond a limit. Strata have the same cuts, and are summed within each test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import lgamma, log
from typing import NamedTuple

from crossfade.stats.differences import Cut, shift_logs
from crossfade.stats.sequential import Logs, SplitCounts, log_e_better, log_e_worse, log_mean_exp, sum_logs

_STRENGTHS = (30.0, 100.0, 300.0)  # of the Beta priors


class SplitBins(NamedTuple):
    """Scores of one stratum by bin, the challenger having drawn `share` of the requests."""

    share: float
    here: Sequence[int]
    rest: Sequence[int]


def _log_e_distance(strata: Sequence[SplitBins], levels: Sequence[float], limit: float) -> float:
    """Log e-value against "no cumulative share differs by more than `limit`": the Kolmogorov-Smirnov distance.

    The mean over cuts, both ways, of `differences.log_e_shift`. `levels`: the share of scores up to each
    cut that was known beforehand; a wrong one costs power only.
    """
    return log_mean_exp(distance_logs(strata, levels, limit))


def distance_logs(strata: Sequence[SplitBins], levels: Sequence[float], limit: float) -> Logs:
    """The log wealth of each bet: at each cut, on more of the scores up to it here and on fewer, at each stake."""
    ways: list[list[Logs]] = [[] for _ in range(2 * len(levels))]
    for share, here, rest in strata:
        n, rest_n, up_to = sum(here), sum(rest), zip(accumulate(here), accumulate(rest), levels, strict=False)
        for i, (x, y, level) in enumerate(up_to):
            cut = Cut(share, x, n - x, y, rest_n - y)
            other = Cut(share, n - x, x, rest_n - y, y)
            ways[2 * i].append(shift_logs(cut, level, limit))
            ways[2 * i + 1].append(shift_logs(other, 1 - level, limit))
    return [wealth for logs in ways for wealth in sum_logs(logs)]


def log_e_band(strata: Sequence[SplitBins], rho: float) -> float:
    """Log e-value against "each bin and each tail is between 1/ρ and ρ times as likely here".

    The mean over cells of two-arm tests both ways (statistics 1.4); not the product, as cells
    inside the band lose. Cells are the bins, and what is up to and above each cut.
    """
    return log_mean_exp([_log_e_range(tosses, rho) for tosses in _bin_ranges(strata)])


def _log_e_range(tosses: Sequence[SplitCounts], rho: float) -> float:
    return log_mean_exp([log_e_worse(tosses, rho), log_e_better(tosses, 1 / rho)])


def _bin_ranges(strata: Sequence[SplitBins]) -> Iterator[list[SplitCounts]]:
    """Each a range of bins."""
    bins = len(strata[0].here) if strata else 0
    ranges = [(i, i + 1) for i in range(bins)]
    ranges += [(0, i) for i in range(2, bins)] + [(i, bins) for i in range(1, bins - 1)]
    for i, j in ranges:
        yield [SplitCounts(share, sum(here[i:j]), sum(rest[i:j])) for share, here, rest in strata]


def log_e_differ(strata: Sequence[SplitBins]) -> float:
    """Log e-value against "both sides predict alike, and answers are as often missing here as there".

    Mean over k of Π_b B(kw + c_b, k(1 − w) + d_b)/B(kw, k(1 − w)) · w^(−c_b) (1 − w)^(−d_b): each event
    belongs to one bin, so the product over bins (and strata) is a martingale. For show only.
    """
    return log_mean_exp(
        [
            sum(
                _log_beta_mixture(s, k) - sum(s.here) * log(s.share) - sum(s.rest) * log(1 - s.share)
                for s in strata
            )
            for k in _STRENGTHS
        ]
    )


def log_e_differ_robust(strata: Sequence[SplitBins]) -> float:
    """Log e-value against "both sides predict alike", where answers may be missing on one side.

    The same over the largest likelihood of any share (universal inference: Wasserman, Ramdas, Balakrishnan 2020).
    """
    return log_mean_exp(
        [sum(_log_beta_mixture(s, k) - _max_log_likelihood(s) for s in strata) for k in _STRENGTHS]
    )


def _log_beta_mixture(found: SplitBins, k: float) -> float:
    a, b = k * found.share, k * (1 - found.share)
    known = _log_beta(a, b)
    return sum(_log_beta(a + c, b + d) - known for c, d in zip(found.here, found.rest, strict=True))


def _max_log_likelihood(found: SplitBins) -> float:
    c, d = sum(found.here), sum(found.rest)
    return sum(x * log(x / (c + d)) for x in (c, d) if x)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def ks_distance(here: Sequence[int], rest: Sequence[int]) -> float:
    """Kolmogorov and Smirnov's, at the cuts: the largest difference of cumulative shares; 0 where a side has none."""
    n, m = sum(here), sum(rest)
    if not n or not m:
        return 0.0
    return max(abs(x / n - y / m) for x, y in zip(accumulate(here), accumulate(rest), strict=True))


def stability_index(here: Sequence[int], rest: Sequence[int]) -> float:
    """Population stability index, Σ (p − q) log(p/q) over bins, half a score added to each; for show.

    Never a test: without any change it is expected to be about (bins − 1)(1/n + 1/m).
    """
    n, m = sum(here) + len(here) / 2, sum(rest) + len(rest) / 2
    pairs = [((x + 0.5) / n, (y + 0.5) / m) for x, y in zip(here, rest, strict=True)]
    return sum((p - q) * log(p / q) for p, q in pairs)
