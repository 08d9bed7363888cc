"""The test of all fields together: can a classifier tell live rows from those of the profile?

Rule (E-C2ST: Pandeva et al., TMLR 2024): batches of as many reference rows as live ones. The classifier is fitted on earlier
batches only, and bets on the next one: Π (ε p(y|x) + (1 − ε)/2) / ½ over its rows, the mean over ε of the wealth so far. Without
drift a label is a fair coin whatever x is, so the wealth is a martingale, whatever the classifier is. Each reference row is used
once; when they are used up another epoch begins, with an empty classifier and wealth 1.

scikit-learn (`crossfade[drift]`) is imported with the first batch, here and nowhere else in the proxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, log
from random import Random
from typing import Any

from crossfade.quality.profile import CategoryField, Profile, Scalar
from crossfade.stats.sequential import log_mean_exp

BATCH = 200  # rows of each kind
LEAST = 50  # live rows of a window with fewer are no batch
STAKES = (0.25, 0.5, 1.0)  # ε
SURE = 0.999  # no probability is nearer to 0 or 1: one row never takes all
KEPT = 8 * BATCH  # rows of the latest batches that the classifier is fitted on


class Epoch:
    """One pass through the reference rows. `wealth`: log, for each ε."""

    def __init__(self, profile: Profile, number: int, batch: int = BATCH) -> None:
        self.columns = profile.columns
        self.encoders = [encoder_of(profile, column) for column in profile.columns]
        rows = list(profile.sample)
        Random(number).shuffle(rows)  # other pairs of rows in each epoch
        self.reference = [self.encoded(row) for row in rows]
        self.number = number
        self.batch = min(batch, len(rows))
        self.wealth = [0.0] * len(STAKES)
        self.rows: list[list[float]] = []
        self.labels: list[int] = []

    @property
    def is_over(self) -> bool:
        """Whether there are too few reference rows for a batch."""
        return len(self.reference) < max(min(self.batch, LEAST), 1)

    def encoded(self, row: Sequence[Scalar]) -> list[float]:
        return [number for value, encode in zip(row, self.encoders, strict=True) for number in encode(value)]

    def add(self, live: Sequence[Sequence[Scalar]]) -> float:
        """One batch. Returns the log e-value of it alone, given those before: the growth of the mean wealth."""
        n = min(self.batch, len(live), len(self.reference))
        theirs, self.reference = self.reference[:n], self.reference[n:]
        rows = [*theirs, *(self.encoded(row) for row in live[:n])]
        labels = [0] * n + [1] * n
        before = log_mean_exp(self.wealth)
        if self.rows:
            chances = self._chances(rows, labels)
            for j, stake in enumerate(STAKES):
                self.wealth[j] += fsum(log((stake * p + (1 - stake) / 2) / 0.5) for p in chances)
        self.rows, self.labels = [*self.rows, *rows][-KEPT:], [*self.labels, *labels][-KEPT:]
        return log_mean_exp(self.wealth) - before

    def _chances(self, rows: list[list[float]], labels: list[int]) -> list[float]:
        """What the classifier, fitted on earlier batches, gives each row's own label."""
        from threadpoolctl import threadpool_limits  # scikit-learn brings it

        with threadpool_limits(1):  # serving goes before
            found = classifier().fit(self.rows, self.labels).predict_proba(rows)[:, 1]
        live = [min(max(float(p), 1 - SURE), SURE) for p in found]
        return [p if label else 1 - p for p, label in zip(live, labels, strict=True)]


def classifier() -> Any:
    """Trees find changes of single fields and of several together, in any unit; HistGradientBoosting takes missing values."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, learning_rate=0.1, random_state=0)


def encoder_of(profile: Profile, column: str) -> Any:
    """A number as it is, NaN where it is none; a category as a row of 0 and 1 for each that the profile names."""
    field = profile.fields.get(column)
    if isinstance(field, CategoryField):
        return _category_encoder(list(field.counts))
    return _number


def _number(value: Scalar) -> list[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [float(value)] if is_number and value is not None else [float("nan")]


def _category_encoder(names: list[str]) -> Any:
    def encode(value: Scalar) -> list[float]:
        text = ("true" if value else "false") if isinstance(value, bool) else value
        return [float(text == name) for name in names]

    return encode
