"""Durations of the two answers that were asked for under the same conditions: the challenger's to a copy, and the champion's second.

Rule: a threshold for slow answers is fixed before the durations that it is applied to. So each pair of durations (`both`) is counted
against the thresholds of the moment and then forgotten; those of each side stay.
"""

from __future__ import annotations

import msgspec

from crossfade.stats.histogram import bucket_of
from crossfade.stats.sums import add_up

MOST = 10_000  # pairs of one report; those above are not counted
_LONGEST = 1e6  # seconds
_IN_BUCKET = 0.999  # of an upper edge: a duration in its bucket

Durations = tuple[int, int, int]  # when, in seconds; the buckets of the copy and of the second answer


class PairedLatency(msgspec.Struct, omit_defaults=True):
    """`copies` and `seconds`: by buckets of `histogram`."""

    both: list[Durations] = msgspec.field(default_factory=list)
    copies: dict[int, int] = msgspec.field(default_factory=dict)
    seconds: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, durations: Durations | None) -> None:
        if durations is None or len(self.both) >= MOST:
            return
        self.both.append(durations)
        add_up(self.copies, {durations[1]: 1})
        add_up(self.seconds, {durations[2]: 1})

    def merge(self, other: PairedLatency) -> None:
        self.both = self.both + other.both
        add_up(self.copies, other.copies)
        add_up(self.seconds, other.seconds)

    def sides(self) -> PairedLatency:
        """Without the pairs."""
        return PairedLatency([], self.copies, self.seconds)


def is_slow(bucket: int, limit: float) -> bool:
    """`limit`: the upper edge of a bucket."""
    return bucket > bucket_of(limit * _IN_BUCKET)


def bucket_for(seconds: float) -> int:
    """The bucket of any duration; a longer one than _LONGEST has the bucket of that."""
    return bucket_of(min(max(seconds, 0.0), _LONGEST))
