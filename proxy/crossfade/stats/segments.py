"""Pairs by segment: of each declared source of segments, the counts of each value; and which segments are proven to differ.

Rule: a source has at most MOST_VALUES values, the first ones that come; pairs of later values count as OTHER. Below that
limit merging is addition. The value is known before the pair's outcome, so a test of one segment is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, log

import msgspec

MOST_VALUES = 100
MOST_SOURCES = 8
LONGEST_VALUE = 256  # characters
OTHER = "other"


class SegmentPairs(msgspec.Struct):
    """The fields are those of `pairs.Pairs`."""

    n: int = 0
    changed: int = 0
    chances: float = 0.0
    twice: int = 0
    noise: int = 0
    both: int = 0

    @classmethod
    def of(cls, changed: bool, chance: float, noise: bool | None) -> SegmentPairs:
        """One pair."""
        differed = noise is True
        return cls(1, int(changed), chance, int(noise is not None), int(differed), int(differed and changed))

    def merge(self, other: SegmentPairs) -> None:
        self.n += other.n
        self.changed += other.changed
        self.chances += other.chances
        self.twice += other.twice
        self.noise += other.noise
        self.both += other.both

    @property
    def chance(self) -> float:
        return self.chances / self.n if self.n else 0.0


Segments = dict[str, dict[str, SegmentPairs]]  # by source and value


def add_segment(segments: Segments, source: str, value: str, counts: SegmentPairs) -> None:
    if source not in segments and len(segments) >= MOST_SOURCES:
        return
    values = segments.setdefault(source, {})
    value = value[:LONGEST_VALUE]
    if value not in values and len(values) >= MOST_VALUES:
        value = OTHER
    values.setdefault(value, SegmentPairs()).merge(counts)


def merge_segments(segments: Segments, others: Segments) -> None:
    for source, values in others.items():
        for value, counts in values.items():
            add_segment(segments, source, value, counts)


MOST = MOST_SOURCES * (MOST_VALUES + 1)  # segments that can come
_HARMONIC = fsum(1 / place for place in range(1, MOST + 1))


def log_weights(n: int) -> list[float]:
    """Of the first `n` segments in the order in which they came: the k-th has 1/k of the first one's, and all that may come have 1.

    With weights by the number of segments so far, each new segment would raise the evidence of the ones before it.
    """
    return [-log(place * _HARMONIC) for place in range(1, n + 1)]


def log_e_segments(logs: Sequence[float]) -> float:
    """The evidence that some segment differs, by e-BH (Wang & Ramdas, JRSS-B 2022): log max_k k·E_(k), 0 without segments.

    `logs`: the log e-value of each segment, in the order in which they came; E_(k) is the k-th largest with its weight. If no
    segment differs, the weighted sum of all e-values is a supermartingale, and at least this evidence, so it ever reaches 1/α with
    probability α at most.
    """
    return max([log(k) + e for k, e in enumerate(sorted(_weighted(logs), reverse=True), 1)], default=0.0)


def flagged(logs: Sequence[float], alpha: float) -> list[bool]:
    """Which segments e-BH flags: the most, k, of which each has a weighted e-value of at least 1/(kα).

    At any one moment the expected share of wrong ones among them is at most α, under any dependence. That holds for present
    e-values, not for their largest ones so far.
    """
    weighted = _weighted(logs)
    largest = sorted(weighted, reverse=True)
    k = max([k for k, e in enumerate(largest, 1) if e >= -log(k * alpha)], default=0)
    return [e >= largest[k - 1] for e in weighted] if k else [False] * len(logs)


def _weighted(logs: Sequence[float]) -> list[float]:
    return [e + weight for e, weight in zip(logs, log_weights(len(logs)), strict=True)]
