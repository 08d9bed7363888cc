"""The area under the ROC curve: how often a row with label 1 has a higher score than one with label 0; ties count half.

Its variance is DeLong's (Biometrics 44, 1988), computed from counts by score: rows of one score tie.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ByScore(NamedTuple):
    """Rows of one score."""

    score: float
    negatives: int
    positives: int


class Auc(NamedTuple):
    estimate: float
    variance: float
    n: int


def auc_of(rows: Iterable[ByScore]) -> Auc | None:
    """None without two rows of each label. O(n log n) in the number of scores."""
    ordered = sorted(rows)
    negatives = sum(row.negatives for row in ordered)
    positives = sum(row.positives for row in ordered)
    if negatives < 2 or positives < 2:
        return None
    of_positives = _Spread()
    of_negatives = _Spread()
    below_negatives = below_positives = 0
    for _, n, p in ordered:
        if p:
            of_positives.add((below_negatives + n / 2) / negatives, p)
        if n:
            of_negatives.add(1 - (below_positives + p / 2) / positives, n)
        below_negatives += n
        below_positives += p
    variance = of_positives.variance / positives + of_negatives.variance / negatives
    return Auc(of_positives.mean, variance, negatives + positives)


class _Spread:
    """Of weighted values."""

    def __init__(self) -> None:
        self.n, self.total, self.squares = 0, 0.0, 0.0

    def add(self, value: float, n: int) -> None:
        self.n += n
        self.total += n * value
        self.squares += n * value * value

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def variance(self) -> float:
        return max(self.squares - self.n * self.mean * self.mean, 0.0) / (self.n - 1)
