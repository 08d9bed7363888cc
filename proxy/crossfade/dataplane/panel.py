"""The panel: the sticky keys whose requests a report names, so that the tests can treat the requests of one key together.

A report names every keyed request of a guarded route, up to KEYS_KEPT, both backends together. Above that it keeps half
of the keys, by their hash, and then half again. The smaller panel stays until the ledger changes, so that it has the
same keys in each report. So it is a sample of keys by hash, which does not depend on a backend, and `halvings` says how
large a one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.stats.counts import KEY_BITS, Cell, Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEYS_KEPT = 4096  # hashes per report and route, one for each request


class Panel:
    """The keys of one route."""

    __slots__ = ("halvings", "version")

    def __init__(self) -> None:
        self.version = self.halvings = 0

    def fit(self, cells: Sequence[Cell]) -> None:
        """Keep the keys of the panel only, and make it smaller until there is room. `cells`: all of the route in this report."""
        latest = max(cell.ledger_version for cell in cells)
        if latest > self.version:
            self.version, self.halvings = latest, 0
        kept = self.keep(cells)
        while kept > KEYS_KEPT and self.halvings < KEY_BITS:
            self.halvings += 1
            kept = self.keep(cells)

    def keep(self, cells: Sequence[Cell]) -> int:
        """How many hashes are kept."""
        kept = 0
        for cell in cells:
            keys = cell.keys
            keys.halvings = max(keys.halvings, self.halvings)
            if keys.halvings:
                shift = KEY_BITS - keys.halvings
                keys.hashes = [key for key in keys.hashes if not key >> shift]
            kept += len(keys.hashes)
        return kept


class Panels:
    """By route. `named`: how many hashes were added to cells since the last `fit`."""

    def __init__(self) -> None:
        self.named = 0
        self.by_route: dict[str, Panel] = {}

    def fit(self, cells: Iterable[Cell]) -> None:
        """Bound the keys of each route that names some. `cells`: of this report."""
        if not self.named:
            return
        self.named = 0
        by_route = Counts(list(cells)).by_route()
        for route in by_route:
            if any(cell.keys.hashes for cell in by_route[route]):
                panel = self.by_route.get(route)
                if panel is None:
                    self.by_route[route] = panel = Panel()
                panel.fit(by_route[route])
