"""The comparisons are saved with the state, from time to time and at the end. Nothing is decided by them."""

from __future__ import annotations

from collections.abc import Iterable

from crossfade.control.comparisons import Comparisons
from crossfade.control.journal import Journal
from crossfade.control.route_runtime import RouteRuntime
from crossfade.routing.compiling import compile_prediction

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

    def expect(self, routes: Iterable[RouteRuntime], wall: float) -> None:
        """With their present configurations and attempts."""
        for route in routes:
            prediction = compile_prediction(route.config.prediction)
            attempts = {
                name: f"{state.identity} {state.attempt}" for name, state in route.record.rollouts.items()
            }
            self.comparisons.expect(
                route.name,
                "" if prediction is None else prediction.as_read,
                attempts,
                route.record.ledger.version,
                wall,
            )
