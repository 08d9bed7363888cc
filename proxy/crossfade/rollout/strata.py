"""Strata: the counts of champion and challenger under one ledger version."""

from __future__ import annotations

import msgspec

from crossfade.rollout.copies import Copies
from crossfade.rollout.panel import KeySums
from crossfade.stats.blocks import BLOCK, Blocks, BlockSums
from crossfade.stats.counts import ANY_SECOND, Cell
from crossfade.stats.scores import Levels, ScoreBins, Scores, add_bins
from crossfade.stats.sequential import SplitCounts


class EventCount(msgspec.Struct):
    """Events of one kind on one side among `n` requests. `first`: those that tests count (each key's first in the step)."""

    first: int = 0
    all: int = 0
    n: int = 0

    def add(self, first: int, every: int, n: int) -> None:
        self.first += first
        self.all += every
        self.n += n


class EventCounts(msgspec.Struct):
    """Events of one kind in one stratum."""

    challenger: EventCount = msgspec.field(default_factory=EventCount)
    champion: EventCount = msgspec.field(default_factory=EventCount)

    def split_counts(self, share: float) -> SplitCounts:
        return SplitCounts(
            share, self.challenger.first, self.champion.first, self.challenger.n, self.champion.n
        )


class Mark(msgspec.Struct):
    """The counts of a stratum at one moment, at `n` requests of the challenger: counts by kind of event.

    `blocks`: those closed by then, so a test by blocks begins with the block in which the mark was set.
    """

    n: int
    counts: dict[str, SplitCounts] = msgspec.field(name="tosses")  # the stored name
    blocks: dict[str, BlockSums] = msgspec.field(default_factory=dict)


class Stratum(msgspec.Struct):
    """`share`: the challenger's part of the traffic of champion and challenger together, 0 to 1.

    `spent`: marks that were given up when strata were merged. `blocks`: by kind of event. `keys` and `unkeyed`: of requests
    with a sticky key, with the key as the unit, and of requests without one. `latest`: marks near the present, which no
    test uses (rollout.latest_marks).
    """

    version: int
    step: int
    share: float
    champion: Cell
    challenger: Cell
    # By kind: ERROR, REJECTED, UNREADABLE or the title of a latency check. "met" is the stored name.
    events: dict[str, EventCounts] = msgspec.field(default_factory=dict, name="met")
    marks: list[Mark] = msgspec.field(default_factory=list)
    bins: ScoreBins | None = None
    spent: int = 0
    blocks: dict[str, Blocks] = msgspec.field(default_factory=dict)
    keys: KeySums = msgspec.field(default_factory=KeySums)
    unkeyed: KeySums = msgspec.field(default_factory=KeySums)
    lingered: int = 0  # the last block of time to which requests that wait were added
    latest: list[Mark] = msgspec.field(default_factory=list)
    copies: Copies = msgspec.field(default_factory=Copies)  # mirrored to the challenger

    @property
    def compares(self) -> bool:
        """Whether both sides get live traffic, so that they can be compared."""
        return 0 < self.share < 1

    @property
    def present_counts(self) -> dict[str, SplitCounts]:
        return {kind: events.split_counts(self.share) for kind, events in self.events.items()}

    def add_block(self, kind: str, second: int, counted: tuple[int, int], here: bool) -> None:
        """`counted`: events and requests. All events, also those of one key, which the tests of keys ask about."""
        if second == ANY_SECOND or not (here or self.compares):
            return
        x, n = counted
        w = self.share if self.compares else 0.0
        self.blocks.setdefault(kind, Blocks()).add(second // BLOCK, (1 - w) * x if here else -w * x, n, x)

    def bin_scores(self, levels: Levels | None, scores: Scores, here: bool) -> None:
        """Add scores to the bins; the levels were fixed before these scores came."""
        if levels is None or not scores.count:
            return
        if self.bins is None:
            self.bins = ScoreBins(levels.binned(Scores()), levels.binned(Scores()))
        side = self.bins.here if here else self.bins.rest
        side[:] = add_bins(side, levels.binned(scores))
