"""Durations of the two answers that were asked for under the same conditions: the challenger's to a copy, and the champion's second.

Rule: a threshold for slow answers is fixed before the durations that it is applied to. So durations of both answers together
(`both`) are counted at once against the thresholds of the moment, and only those of each side are kept.
"""

from __future__ import annotations

import msgspec

from crossfade.stats.histogram import bucket_of
from crossfade.stats.sums import add_up

_WIDTH = 100_000  # more than there are buckets
_LONGEST = 1e6  # seconds
_IN_BUCKET = 0.999  # of an upper edge: a duration in its bucket


class PairedLatency(msgspec.Struct, omit_defaults=True):
    """By buckets of `histogram`. `both`: by the copy's bucket · _WIDTH + the second answer's bucket."""

    both: dict[int, int] = msgspec.field(default_factory=dict)
    copies: dict[int, int] = msgspec.field(default_factory=dict)
    seconds: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, buckets: tuple[int, int] | None) -> None:
        if buckets is None:
            return
        copy, second = buckets
        add_up(self.both, {copy * _WIDTH + second: 1})
        add_up(self.copies, {copy: 1})
        add_up(self.seconds, {second: 1})

    def merge(self, other: PairedLatency) -> None:
        add_up(self.both, other.both)
        add_up(self.copies, other.copies)
        add_up(self.seconds, other.seconds)

    def sides(self) -> PairedLatency:
        """Without durations of both together."""
        return PairedLatency({}, self.copies, self.seconds)

    def slow(self, copy_limit: float, second_limit: float) -> tuple[int, int, int]:
        """Pairs in which only the copy's answer is slow, in which only the champion's is, and all pairs.

        A bucket is slow if it is above the one of the limit, which is an upper edge.
        """
        copy_bucket, second_bucket = bucket_of(copy_limit * _IN_BUCKET), bucket_of(second_limit * _IN_BUCKET)
        here = rest = n = 0
        for code, count in self.both.items():
            copy, second = divmod(code, _WIDTH)
            slow, slow_second = copy > copy_bucket, second > second_bucket
            here += count * (slow and not slow_second)
            rest += count * (slow_second and not slow)
            n += count
        return here, rest, n


def bucket_for(seconds: float) -> int:
    """The bucket of any duration; a longer one than _LONGEST has the bucket of that."""
    return bucket_of(min(max(seconds, 0.0), _LONGEST))
