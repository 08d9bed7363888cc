"""Distributions of scores: what two sides of a coin with known share predicted, bin by bin.

Rule: buckets never move, so counts of them merge by addition, in any order. What is compared are bins
between cuts (deciles of what the champion predicted *before*), fixed before the scores that they count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import log

import msgspec

from proxy.stats.histogram import PER_LOG

LINEAR = 200  # buckets between 0 and 1; beyond 1 each is 2 % wide, as those of durations are
BINS = 10


def bucket_of_score(score: float) -> int:
    """Rises with the score, which is any finite number; the mirrored bucket where it is below 0."""
    if score < 0:
        return -1 - bucket_of_score(-score)
    return int(score * LINEAR) if score < 1 else LINEAR + int(log(score) * PER_LOG)


class Scores(msgspec.Struct):
    """Scores of one side by bucket, sparse. One score for each customer where routing is sticky."""

    buckets: dict[int, int] = msgspec.field(default_factory=dict)
    count: int = 0

    def add(self, score: float) -> None:
        bucket = bucket_of_score(score)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other: Scores) -> None:
        for bucket, n in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + n
        self.count += other.count


def cuts_of(reference: Scores, bins: int = BINS) -> tuple[int, ...]:
    """Rising buckets; each is the last of a bin. Fewer than bins − 1 where few buckets hold most scores."""
    cuts: list[int] = []
    seen, due = 0, 1
    for bucket in sorted(reference.buckets)[:-1]:
        seen += reference.buckets[bucket]
        if seen * bins >= reference.count * due:
            cuts.append(bucket)
            due = seen * bins // reference.count + 1
    return tuple(cuts)


class ScoreBins(msgspec.Struct):
    """Scores of one stratum since its cuts were fixed: bin i holds what is above cut i − 1, up to cut i."""

    cuts: tuple[int, ...]
    here: list[int]
    rest: list[int]

    @classmethod
    def between(cls, cuts: Sequence[int]) -> ScoreBins:
        return cls(tuple(cuts), [0] * (len(cuts) + 1), [0] * (len(cuts) + 1))

    def add(self, here: Scores, rest: Scores) -> None:
        for mine, scores in ((self.here, here), (self.rest, rest)):
            for bucket, n in scores.buckets.items():
                mine[bisect_left(self.cuts, bucket)] += n
