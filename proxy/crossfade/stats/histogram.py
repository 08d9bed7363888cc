"""Histograms of durations with logarithmic buckets: merging is exact, adding is cheap.

Bucket i holds durations in (γ^i, γ^(i+1)] microseconds with γ = 1.02, the mapping of DDSketch (Masson, Rim,
Lee 2019). A quantile read from it has a relative error of at most (γ-1)/(γ+1) = 0.99 %. Merging is integer
addition, so workers and replicas can be summed in any order, and a count above a bucket edge is exact; the
sequential tests need both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import exp, fsum, inf, log

import msgspec

from crossfade.stats.sums import add_up

GAMMA = 1.02
UNIT = 1e-6  # seconds; shorter durations fall into bucket 0
LOG_GAMMA = log(GAMMA)
PER_LOG = 1 / LOG_GAMMA
LOG_UNIT = log(UNIT)
_LARGEST_LOG = 700.0  # exp of more than 709 is no number


def bucket_of(seconds: float) -> int:
    """The bucket of a duration; durations at or below a microsecond share bucket 0."""
    return int((log(seconds) - LOG_UNIT) * PER_LOG) if seconds > UNIT else 0


def upper_edge(bucket: int) -> float:
    """The largest duration, in seconds, in the bucket."""
    return UNIT * exp(min((bucket + 1) * LOG_GAMMA, _LARGEST_LOG))


class Histogram(msgspec.Struct):
    """Counts by bucket (sparse), and the exact number and sum (seconds) of the durations."""

    buckets: dict[int, int] = msgspec.field(default_factory=dict)
    count: int = 0
    total: float = 0.0

    @classmethod
    def of(cls, durations: Sequence[float]) -> Histogram:
        buckets = Counter([int((log(s) - LOG_UNIT) * PER_LOG) if s > UNIT else 0 for s in durations])
        return cls(dict(buckets), len(durations), fsum(durations))

    def add(self, seconds: float) -> None:
        bucket = bucket_of(seconds)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds

    def merge(self, other: Histogram) -> None:
        add_up(self.buckets, other.buckets)
        self.count += other.count
        self.total += other.total

    def quantile(self, q: float) -> float | None:
        """The q-quantile (0 ≤ q ≤ 1) in seconds: the middle of its bucket, 0.99 % relative error; None when empty."""
        return self.quantiles((q,))[0] if self.count else None

    def quantiles(self, qs: Sequence[float]) -> list[float]:
        """Several quantiles in one pass: `qs` in ascending order; the histogram must not be empty."""
        ranks = iter([q * (self.count - 1) for q in qs])
        rank, seen = next(ranks), 0
        out: list[float] = []
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            while seen > rank:
                out.append(_middle(bucket))
                rank = next(ranks, inf)
        return out

    def above(self, bucket: int) -> int:
        """How many durations lie in buckets above this one. Exact, because bucket edges are fixed."""
        return sum(n for b, n in self.buckets.items() if b > bucket)

    def without(self, n: int, above: Iterable[tuple[int, int]]) -> Histogram:
        """Less `n` durations; for each (bucket, count) of `above`, so many of them lie in buckets above this one.

        Between two of these buckets, the same part is taken from each bucket.
        """
        out, taken, high = Histogram(dict(self.buckets), self.count, self.total), 0, inf
        for low, count in [*sorted(above, reverse=True), (-1, n)]:
            within = sorted(b for b in out.buckets if low < b <= high)
            out._take_evenly(within, count - taken)
            taken, high = max(taken, count), min(high, low)
        return out

    def _take_evenly(self, buckets: Sequence[int], n: int) -> None:
        every = sum(self.buckets[b] for b in buckets)
        n = max(min(n, every), 0)
        seen = taken = 0
        for bucket in buckets:
            seen += self.buckets[bucket]
            fewer = seen * n // every - taken
            taken += fewer
            self.buckets[bucket] -= fewer
            self.count -= fewer
            self.total = max(self.total - fewer * upper_edge(bucket), 0.0)
            if not self.buckets[bucket]:
                del self.buckets[bucket]

    def cumulative(self, edges: Iterable[float]) -> list[tuple[float, int]]:
        """(edge in seconds, count at or below it) for ascending edges, then inf: the buckets of a Prometheus histogram."""
        items = sorted(self.buckets.items())
        out: list[tuple[float, int]] = []
        position = running = 0
        for edge in edges:
            limit = bucket_of(edge)
            while position < len(items) and items[position][0] <= limit:
                running += items[position][1]
                position += 1
            out.append((edge, running))
        out.append((inf, self.count))
        return out


def _middle(bucket: int) -> float:
    """As far from both edges, relative to them."""
    return upper_edge(bucket) * 2 / (1 + GAMMA)


def high_quantile(parts: Sequence[Histogram], q: float) -> float | None:
    """The q-quantile of all together in seconds, as `quantile` of their sum. Quick for a high q: only buckets near it are summed."""
    n = sum(part.count for part in parts)
    if not n:
        return None
    rank = q * (n - 1)
    largest = max(parts, key=lambda part: part.count)
    for low in (_low_bucket(largest, q), -1):
        top: defaultdict[int, int] = defaultdict(int)
        for part in parts:
            for bucket, m in part.buckets.items():
                if bucket > low:
                    top[bucket] += m
        below = n
        for bucket in sorted(top, reverse=True):
            below -= top[bucket]
            if below <= rank:
                return _middle(bucket)
    raise AssertionError(rank)


def _low_bucket(part: Histogram, q: float) -> int:
    """Below it are so many that the quantile of others like this one is hardly there: ten times as many are above it as above the quantile."""
    wanted, above = 10 * (1 - q) * part.count, 0
    for bucket in sorted(part.buckets, reverse=True):
        above += part.buckets[bucket]
        if above > wanted:
            return bucket - 1
    return -1
