"""What each route did in the window, for those who read it often and need few numbers.

Rule: it is computed once for all who read it between two reports of counts. Only numbers of the window are kept, so nothing else
of the state can be old.
"""

from __future__ import annotations

from collections import defaultdict

from crossfade.routing.snapshot import OWN
from crossfade.stats.counts import SHADOW, Cell
from crossfade.stats.histogram import Histogram, high_quantile
from crossfade.stats.window import Window


class Recent:
    """Of one route. `served`: requests by backend, and whether these are mirrored copies. The other numbers are of live requests
    that a backend answered; `p99` in seconds, None without one."""

    def __init__(self) -> None:
        self.requests = self.errors = self.abandoned = 0
        self.p99: float | None = None
        self.served: defaultdict[tuple[str, bool], int] = defaultdict(int)

    def add(self, cell: Cell, durations: list[Histogram]) -> None:
        """Its histogram goes to the others of the route."""
        is_copies = cell.role == SHADOW
        self.served[cell.backend, is_copies] += cell.requests
        if not is_copies and cell.backend != OWN:
            self.requests += cell.requests
            self.errors += cell.errors
            self.abandoned += cell.abandoned
            durations.append(cell.duration)


class RecentByRoute:
    def __init__(self, window: Window) -> None:
        self.window = window
        self._version: int | None = None  # of the window, when it was read last
        self._found: dict[str, Recent] = {}

    def read(self, now: float) -> dict[str, Recent]:
        """Of the routes that the window has. Callers must not change it."""
        version = self.window.version(now)
        if version != self._version:
            self._version, self._found = version, self._counted(now)
        return self._found

    def _counted(self, now: float) -> dict[str, Recent]:
        found: defaultdict[str, Recent] = defaultdict(Recent)
        durations: defaultdict[str, list[Histogram]] = defaultdict(list)
        for cell in self.window.cells(now):
            found[cell.route].add(cell, durations[cell.route])
        for name, recent in found.items():
            recent.p99 = high_quantile(durations[name], 0.99)
        return dict(found)
