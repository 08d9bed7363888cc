"""Rows for the prediction logs, as workers and the observer sent them, until the controller takes them.

Limit: MOST bytes. Where nobody takes them, the rows above are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from crossfade.quality.logged import LoggedBatch

MOST = 16_777_216


class Taken(NamedTuple):
    """`dropped`: rows by route."""

    batches: Sequence[LoggedBatch]
    dropped: Mapping[str, int]


class LoggedBatches:
    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.batches: list[LoggedBatch] = []
        self.size = 0
        self.dropped: Counter[str] = Counter()

    def add(self, batches: Iterable[LoggedBatch]) -> None:
        for batch in batches:
            if self.size + batch.size > self.most:
                self.dropped[batch.route] += batch.n
            else:
                self.size += batch.size
                self.batches.append(batch)

    def take(self) -> Taken:
        """What came since the last call."""
        taken = Taken(self.batches, self.dropped)
        self.batches, self.dropped, self.size = [], Counter(), 0
        return taken
