"""Distributions of scores by bucket, and the bins in which two sides are compared.

Rule: bucket edges are fixed, so counts merge by addition in any order. Sides are compared in bins between cuts.
Cuts are deciles of earlier scores of the reference side, so they are fixed before the scores that they count.
"""

from __future__ import annotations

from bisect import bisect_left
from math import log

import msgspec

from crossfade.stats.histogram import PER_LOG
from crossfade.stats.sums import add_up

LINEAR_BUCKETS = 200  # buckets between 0 and 1; above 1 each bucket is 2 % wide, like those of durations
_BINS = 10


def bucket_of_score(score: float) -> int:
    """The bucket of a score, any finite number; it never falls as the score rises. Negative scores mirror positive ones."""
    if score < 0:
        return -1 - bucket_of_score(-score)
    return int(score * LINEAR_BUCKETS) if score < 1 else LINEAR_BUCKETS + int(log(score) * PER_LOG)


class Scores(msgspec.Struct):
    """Scores of one side by bucket (sparse). On a sticky route, one score for each key."""

    buckets: dict[int, int] = msgspec.field(default_factory=dict)
    count: int = 0

    def add(self, score: float) -> None:
        self.add_to(bucket_of_score(score))

    def add_to(self, bucket: int) -> None:
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other: Scores) -> None:
        add_up(self.buckets, other.buckets)
        self.count += other.count


class Levels(msgspec.Struct, frozen=True):
    """`cuts`: ascending buckets, each the last of its bin; `below`: the share of reference scores up to each cut."""

    cuts: tuple[int, ...]
    below: tuple[float, ...]

    def binned(self, scores: Scores) -> list[int]:
        """How many scores lie in each bin; there is one bin more than cuts."""
        out = [0] * (len(self.cuts) + 1)
        for bucket, n in scores.buckets.items():
            out[bisect_left(self.cuts, bucket)] += n
        return out


def levels_of(reference: Scores, bins: int = _BINS) -> Levels:
    """At most bins − 1 cuts at equal shares of the reference; fewer if few buckets hold most scores.

    Where the highest bucket holds nearly all, the cuts are below it and above it: other models may score differently.
    """
    cuts: list[int] = []
    below: list[float] = []
    seen, due = 0, 1
    ordered = sorted(reference.buckets)
    for bucket in ordered[:-1]:
        seen += reference.buckets[bucket]
        if seen * bins >= reference.count * due:
            cuts.append(bucket)
            below.append(seen / reference.count)
            due = seen * bins // reference.count + 1
    if cuts or not ordered:
        return Levels(tuple(cuts), tuple(below))
    none = 0.5 / reference.count  # a level is above 0 and below 1
    return Levels((ordered[-1] - 1, ordered[-1]), (max(seen / reference.count, none), 1 - none))


class ScoreBins(msgspec.Struct):
    """Scores of one stratum by bin since the levels were fixed: of the side under test and of the other."""

    here: list[int]
    rest: list[int]


def add_bins(mine: list[int], more: list[int]) -> list[int]:
    return [a + b for a, b in zip(mine, more, strict=True)]
