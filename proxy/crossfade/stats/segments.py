"""Pairs by segment: of each declared source of segments, the counts of each value; and which segments are proven to differ.

Rule: a source has at most MOST_VALUES values, the first ones that come; pairs of later values count as OTHER. Below that
limit merging is addition. The value is known before the pair's outcome, so a test of one segment is valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, log

import msgspec

MOST_VALUES = 100
MOST_SOURCES = 8
LONGEST_VALUE = 256  # characters
OTHER = "other"


class SegmentPairs(msgspec.Struct):
    """`rank`: 1 for the segment that came first, 2 for the next, over all sources; a journal does not keep the order of keys. The
    other fields are those of `pairs.Pairs`.
    """

    n: int = 0
    changed: int = 0
    chances: float = 0.0
    twice: int = 0
    noise: int = 0
    both: int = 0
    rank: int = 0

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
    found = values.get(value)
    if found is None:
        rank = 1 + sum(map(len, segments.values()))
        values[value] = found = SegmentPairs(rank=rank)
    found.merge(counts)


def merge_segments(segments: Segments, others: Segments) -> None:
    for source, value, counts in in_order(others):
        add_segment(segments, source, value, counts)


def in_order(segments: Segments) -> list[tuple[str, str, SegmentPairs]]:
    """(source, value, counts) by rank."""
    found = [(source, *item) for source, values in segments.items() for item in values.items()]
    return sorted(found, key=lambda each: each[2].rank)


_HARMONIC = fsum(1 / rank for rank in range(1, MOST_SOURCES * (MOST_VALUES + 1) + 1))


def weighted(log_e: float, rank: int) -> float:
    """The log e-value of a segment with its weight: that of the k-th is 1/k of the first one's, and of all that can come it is 1.

    With weights by the number of segments so far, each new segment would raise the evidence of the ones before it.
    """
    return log_e - log(rank * _HARMONIC)


def log_e_segments(logs: Iterable[float]) -> float:
    """The evidence that some segment differs, by e-BH (Wang & Ramdas, JRSS-B 2022): log max_k k·E_(k), 0 without segments.

    `logs`: `weighted`; E_(k) is the k-th largest. If no segment differs, the sum of all weighted e-values is a
    supermartingale from 1 on, and at least this evidence, so it ever reaches 1/α with probability α at most.
    """
    return max([log(k) + e for k, e in enumerate(sorted(logs, reverse=True), 1)], default=0.0)


def flagged(logs: Sequence[float], alpha: float) -> list[bool]:
    """Which segments e-BH flags: the most, k, of which each has a weighted e-value of at least 1/(kα).

    At any one moment the expected share of wrong ones among them is at most α, under any dependence. That holds for present
    e-values, not for their largest ones so far.
    """
    largest = sorted(logs, reverse=True)
    k = max([k for k, e in enumerate(largest, 1) if e >= -log(k * alpha)], default=0)
    return [e >= largest[k - 1] for e in logs] if k else [False] * len(logs)
