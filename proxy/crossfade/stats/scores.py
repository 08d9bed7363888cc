"""Distributions of scores: what two sides of a coin with known share predicted, bin by bin.

Rule: buckets never move, so counts of them merge by addition, in any order. What is compared are bins
between cuts (deciles of what the champion predicted *before*), fixed before the scores that they count.
"""

from __future__ import annotations

from bisect import bisect_left
from math import log

import msgspec

from crossfade.stats.histogram import PER_LOG
from crossfade.stats.sums import add_up

_LINEAR_BUCKETS = 200  # buckets between 0 and 1; beyond 1 each is 2 % wide, as those of durations are
_BINS = 10


def bucket_of_score(score: float) -> int:
    """Rises with the score, which is any finite number; the mirrored bucket where it is below 0."""
    if score < 0:
        return -1 - bucket_of_score(-score)
    return int(score * _LINEAR_BUCKETS) if score < 1 else _LINEAR_BUCKETS + int(log(score) * PER_LOG)


class Scores(msgspec.Struct):
    """Scores of one side by bucket, sparse. One score for each customer where routing is sticky."""

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
    """`cuts`: rising buckets, each the last of its bin; `below`: the share of the reference up to each."""

    cuts: tuple[int, ...]
    below: tuple[float, ...]

    def binned(self, scores: Scores) -> list[int]:
        """How many lie in each bin, of which there is one more than there are cuts."""
        out = [0] * (len(self.cuts) + 1)
        for bucket, n in scores.buckets.items():
            out[bisect_left(self.cuts, bucket)] += n
        return out


def levels_of(reference: Scores, bins: int = _BINS) -> Levels:
    """Fewer than bins − 1 cuts where few buckets hold most scores, and none where one holds all."""
    cuts: list[int] = []
    below: list[float] = []
    seen, due = 0, 1
    for bucket in sorted(reference.buckets)[:-1]:
        seen += reference.buckets[bucket]
        if seen * bins >= reference.count * due:
            cuts.append(bucket)
            below.append(seen / reference.count)
            due = seen * bins // reference.count + 1
    return Levels(tuple(cuts), tuple(below))


class ScoreBins(msgspec.Struct):
    """Scores of one stratum by bin, of both sides, since the levels were fixed."""

    here: list[int]
    rest: list[int]


def add_bins(mine: list[int], more: list[int]) -> list[int]:
    return [a + b for a, b in zip(mine, more, strict=True)]
