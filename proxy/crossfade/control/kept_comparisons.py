"""The comparisons are saved with the state, from time to time and at the end. Nothing is decided by them."""

from __future__ import annotations

from crossfade.control.change import Change
from crossfade.control.comparisons import Comparisons
from crossfade.control.journal import Journal

INTERVAL = 10.0  # seconds between two savings


class KeptComparisons:
    def __init__(self, comparisons: Comparisons, journal: Journal) -> None:
        self.comparisons = comparisons
        self.journal = journal
        self.saved_at = 0.0  # served time
        self.saved = b""
        comparisons.restore(journal.store.comparisons())

    def save_from_time_to_time(self, served: float) -> None:
        if served - self.saved_at >= INTERVAL:
            self.saved_at = served
            self.save()

    def save(self) -> None:
        """In the background."""
        comparisons = self.comparisons.to_bytes()
        if comparisons != self.saved:
            self.saved = comparisons
            self.journal.save_comparisons(comparisons)

    def begin(self, change: Change, wall: float) -> None:
        """Another attempt of a challenger begins with an empty comparison."""
        before = change.route.record.rollouts.get(change.challenger)
        after = change.record.rollouts.get(change.challenger)
        if before is not None and after is not None and before.attempt != after.attempt:
            self.comparisons.begin(change.route.name, change.challenger, wall)
