"""How scores are distributed, in a bounded number of buckets.

Rule: where there are more buckets than that, two neighbours become one, until there are not. The width that this ends at is the
smallest one that all scores together need, so parts give the same sum in any order.
"""

from __future__ import annotations

from math import exp
from typing import Final

import msgspec

from crossfade.stats.histogram import LOG_GAMMA
from crossfade.stats.scores import LINEAR_BUCKETS, bucket_of_score

MOST_BUCKETS: Final = 1024
_LARGEST_LOG: Final = 700.0  # exp of more than 709 is no number


class ScoreBuckets(msgspec.Struct):
    """Bucket b holds the buckets of `stats.scores` from b·2^halvings on."""

    buckets: dict[int, int] = msgspec.field(default_factory=dict)
    n: int = 0
    halvings: int = 0

    def add(self, score: float) -> None:
        bucket = bucket_of_score(score) >> self.halvings
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.n += 1
        if len(self.buckets) > MOST_BUCKETS:
            self.halve(self.halvings + 1)

    def merge(self, other: ScoreBuckets) -> None:
        self.halve(other.halvings)
        shift = self.halvings - other.halvings
        for bucket, n in other.buckets.items():
            place = bucket >> shift
            self.buckets[place] = self.buckets.get(place, 0) + n
        self.n += other.n
        while len(self.buckets) > MOST_BUCKETS:
            self.halve(self.halvings + 1)

    def halve(self, halvings: int) -> None:
        """Make the buckets as wide as this, if they are not."""
        shift = halvings - self.halvings
        if shift <= 0:
            return
        buckets, self.buckets, self.halvings = self.buckets, {}, halvings
        for bucket, n in buckets.items():
            self.buckets[bucket >> shift] = self.buckets.get(bucket >> shift, 0) + n

    def edges(self, bucket: int) -> tuple[float, float]:
        return lowest_score(bucket << self.halvings), lowest_score((bucket + 1) << self.halvings)

    def quantiles(self, qs: tuple[float, ...]) -> list[float]:
        """`qs` in ascending order: each by its place between the edges of its bucket; empty without scores."""
        out: list[float] = []
        seen = 0
        for bucket in sorted(self.buckets):
            n = self.buckets[bucket]
            low, high = self.edges(bucket)
            while len(out) < len(qs) and qs[len(out)] * self.n <= seen + n:
                out.append(low + (high - low) * min(max((qs[len(out)] * self.n - seen) / n, 0.0), 1.0))
            seen += n
        return out


def lowest_score(bucket: int) -> float:
    """The lower edge of a bucket of `stats.scores`; of a bucket below 0, the edge that is farther from 0."""
    if bucket < 0:
        return -lowest_score(-bucket)
    if bucket <= LINEAR_BUCKETS:
        return bucket / LINEAR_BUCKETS
    return exp(min((bucket - LINEAR_BUCKETS) * LOG_GAMMA, _LARGEST_LOG))
