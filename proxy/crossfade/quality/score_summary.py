"""Scores of both models side by side: histograms in the same bins, distances of the distributions, and points to draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import atanh, fsum, log, sqrt, tanh
from typing import Final

import msgspec

from crossfade.quality.pair_sums import Estimate, Interval
from crossfade.quality.score_buckets import ScoreBuckets
from crossfade.quality.table import ComparisonTable, Point
from crossfade.stats.divergence import ks_distance, stability_index
from crossfade.stats.means import mixture_boundary, mixture_rho
from crossfade.stats.scores import Scores, levels_of

_BINS: Final = 40
_WIDTHS: Final = (0.005, 0.01, 0.02, 0.025, 0.05)  # of bins of scores in 0 to 1: whole buckets
_QUANTILES: Final = {"p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
_QQ: Final = tuple(i / 50 for i in range(1, 50))
_EDGE: Final = 0.002  # of the scores on each side that may lie outside of the histogram
_PLANNED: Final = 250  # pairs at which the interval of the correlation is tightest


class ScoresOfOne(msgspec.Struct):
    """`histogram`: [from, to, n], the same bins for both models; the first and last one hold what lies outside, too."""

    n: int
    histogram: list[tuple[float, float, float]]
    quantiles: dict[str, float]


class Correlation(msgspec.Struct):
    """Pearson's, of `n` pairs that were drawn by their request's id."""

    estimate: float
    interval: Interval
    n: int


class ScoreSummary(msgspec.Struct):
    """`ks`: Kolmogorov-Smirnov distance. `psi`: population stability index. `qq`: [share, champion's quantile, challenger's].

    `points`: [champion's score, challenger's, decision changed], of pairs that were drawn by their request's id.
    """

    champion: ScoresOfOne
    challenger: ScoresOfOne
    ks: Estimate | None
    psi: float | None
    correlation: Correlation | None
    qq: list[tuple[float, float, float]]
    points: list[tuple[float, float, bool]]


def scores_of(table: ComparisonTable, alpha: float) -> ScoreSummary:
    ours, theirs = _alike(table.champion_scores, table.challenger_scores)
    edges = _bin_edges(ours, theirs)
    both = bool(ours.n and theirs.n)
    qq = list(zip(_QQ, ours.quantiles(_QQ), theirs.quantiles(_QQ), strict=True)) if both else []
    return ScoreSummary(
        champion=_one(ours, edges),
        challenger=_one(theirs, edges),
        ks=_ks(ours, theirs, alpha) if both else None,
        psi=_psi(ours, theirs) if both else None,
        correlation=_correlation(table.points, alpha),
        qq=qq,
        points=[(point.champion, point.challenger, point.changed) for point in table.points],
    )


def _alike(a: ScoreBuckets, b: ScoreBuckets) -> tuple[ScoreBuckets, ScoreBuckets]:
    """Copies with buckets of the same width."""
    ours, theirs = (
        ScoreBuckets(dict(a.buckets), a.n, a.halvings),
        ScoreBuckets(dict(b.buckets), b.n, b.halvings),
    )
    ours.halve(b.halvings)
    theirs.halve(a.halvings)
    return ours, theirs


def _bin_edges(ours: ScoreBuckets, theirs: ScoreBuckets) -> list[float]:
    both = ScoreBuckets()
    both.merge(ours)
    both.merge(theirs)
    if not both.n:
        return []
    places = sorted(both.buckets)
    lowest, highest = both.edges(places[0])[0], both.edges(places[-1])[1]
    if lowest >= 0 and highest <= 1 + 1 / 50 and not both.halvings:
        highest = min(highest, 1.0)
        wide = next((w for w in _WIDTHS if highest - lowest <= _BINS * w + 1e-9), _WIDTHS[-1])
        first, last = int(lowest / wide + 1e-9), -int(-highest / wide - 1 + 1e-9)
        return [i * wide for i in range(first, max(last, first + 1) + 1)]
    low, high = both.quantiles((_EDGE, 1 - _EDGE))
    if high <= low:
        low, high = lowest, highest
    return [low + (high - low) * i / _BINS for i in range(_BINS + 1)]


def _one(scores: ScoreBuckets, edges: Sequence[float]) -> ScoresOfOne:
    if not scores.n:
        return ScoresOfOne(0, [], {})
    counts = _spread(scores, edges)
    bins = [(edges[i], edges[i + 1], n) for i, n in enumerate(counts)]
    quantiles = scores.quantiles(tuple(_QUANTILES.values()))
    return ScoresOfOne(scores.n, bins, dict(zip(_QUANTILES, quantiles, strict=True)))


def _spread(scores: ScoreBuckets, edges: Sequence[float]) -> list[float]:
    """A bucket that lies in several bins counts in each by its part there."""
    last = len(edges) - 2
    counts = [0.0] * (last + 1)
    wide = (edges[-1] - edges[0]) / (last + 1)
    for bucket, n in scores.buckets.items():
        low, high = scores.edges(bucket)
        first, end = (min(max(int((edge - edges[0]) / wide), 0), last) for edge in (low + 1e-9, high - 1e-9))
        for i in range(first, end + 1):
            begin = low if i == first else edges[i]
            stop = high if i == end else edges[i + 1]
            counts[i] += n * (stop - begin) / (high - low)
    return [round(n, 3) for n in counts]


def _ks(ours: ScoreBuckets, theirs: ScoreBuckets, alpha: float) -> Estimate:
    """The interval holds whatever the scores of one pair have to do with each other; inside of a bucket nothing is seen."""
    places = sorted({*ours.buckets, *theirs.buckets})
    here, there = ([scores.buckets.get(place, 0) for place in places] for scores in (ours, theirs))
    found = ks_distance(here, there)
    half = band(ours.n, alpha / 2) + band(theirs.n, alpha / 2)
    return Estimate(found, (max(found - half, 0.0), min(found + half, 1.0)))


def band(n: int, alpha: float) -> float:
    """How far the shares up to any value are from the true ones, for all values and at all looks together, with 1 − alpha.

    0.85·√((log log(en) + 0.8 log(1612/α))/n) (Howard & Ramdas, Bernoulli 28(3), 2022).
    """
    return 0.85 * sqrt((log(1 + log(n)) + 0.8 * log(1612 / alpha)) / n)


def _psi(ours: ScoreBuckets, theirs: ScoreBuckets) -> float:
    levels = levels_of(Scores(ours.buckets, ours.n))
    mine, others = (levels.binned(Scores(scores.buckets, scores.n)) for scores in (ours, theirs))
    return stability_index(mine, others)


def _correlation(points: Sequence[Point], alpha: float) -> Correlation | None:
    n = len(points)
    if n < 4:
        return None
    xs, ys = [p.champion for p in points], [p.challenger for p in points]
    largest = max(map(abs, (*xs, *ys))) or 1.0
    xs, ys = _centred(xs, largest), _centred(ys, largest)
    xx, yy = fsum([x * x for x in xs]), fsum([y * y for y in ys])
    if not xx * yy:
        return None
    r = min(max(fsum([x * y for x, y in zip(xs, ys, strict=True)]) / sqrt(xx * yy), -1.0), 1.0)
    return Correlation(r, _fisher(r, n - 3.0, alpha), n)


def _centred(values: Sequence[float], unit: float) -> list[float]:
    """In a unit whose square is finite."""
    scaled = [value / unit for value in values]
    mean = fsum(scaled) / len(scaled)
    return [value - mean for value in scaled]


def _fisher(r: float, n: float, alpha: float) -> Interval:
    """By Fisher's transformation, at all looks together in the limit of many pairs."""
    if abs(r) > 1 - 1e-12:
        return r, r
    half = mixture_boundary(n, mixture_rho(_PLANNED, alpha), alpha) / n
    return tanh(atanh(r) - half), tanh(atanh(r) + half)
