"""A sliding window of counts: a ring of time slots.

Rule: the sum equals a recount of everything added in the slots that it covers. Slots are aligned to
multiples of their length, so a sum covers between span − slot and span seconds; `seconds` returns how many.
If the clock steps back, counts go to the newest slot, so none is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from crossfade.stats.counts import Cell, Counts, CountsTable

ANY_VERSION = 0


class Window:
    """Cells by (route, backend, role) over `span` seconds; ledger versions are summed."""

    def __init__(self, span: float = 10.0, slots: int = 20) -> None:
        self.slot = span / slots
        self.slots = slots
        self.began: float | None = None
        self.ring: deque[tuple[int, CountsTable]] = deque()
        self.summed: CountsTable | None = None
        self.changes = 0

    def add(self, cells: Iterable[Cell], now: float) -> None:
        """Count these cells at time `now`, in seconds. The cells are copied."""
        if self.began is None:
            self.began = now
        self._open_slot(now)
        self.ring[-1][1].add(Counts([cell.outcomes(ANY_VERSION) for cell in cells]))
        self._changed()

    def _open_slot(self, now: float) -> None:
        """Open the slot of `now` and drop the slots that are older than the span."""
        index = int(now // self.slot)
        if not self.ring or index > self.ring[-1][0]:
            self.ring.append((index, CountsTable()))
            self._changed()
        while self.ring[0][0] <= self.ring[-1][0] - self.slots:
            self.ring.popleft()

    def _changed(self) -> None:
        self.summed = None
        self.changes += 1

    def version(self, now: float) -> int:
        """Another number once `cells` and `table` give anything else than before."""
        self._open_slot(now)
        return self.changes

    def table(self, now: float) -> CountsTable:
        """The sum over the span that ends with the slot of `now`. Callers must not change it."""
        self._open_slot(now)
        if self.summed is None:
            self.summed = CountsTable()
            for _, table in self.ring:
                self.summed.add(Counts(list(table.cells.values())))
        return self.summed

    def cells(self, now: float) -> Iterator[Cell]:
        """Those of the span that ends with the slot of `now`, not summed yet. Callers must not change them."""
        self._open_slot(now)
        for _, table in self.ring:
            yield from table.cells.values()

    def seconds(self, now: float) -> float:
        """How many seconds the sum covers: less than the span while the window fills, at least one slot."""
        edge = (int(now // self.slot) - self.slots + 1) * self.slot
        began = now if self.began is None else self.began
        return max(now - max(edge, began), self.slot)
