"""Counts that do not count yet: sides are compared by the time of routing, not of ending.

In a shared outage one side may fail at once and the other only after a time-out. By the time of ending, the first alone
looks bad until then. So what was routed in one second enters the evidence when the champion has answered all requests of
that second and before, or after `horizon` seconds, the champion's longest time-out.

The challenger's own late answers enter when they come: to wait for them would let a challenger that hangs look well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from crossfade.stats.counts import ANY_SECOND, Cell

SETTLED = 1.0  # seconds after which each worker has reported what it answered within a second
HORIZON = 60.0  # seconds, if no time-out of the champion is known

Seconds = Mapping[int, int]  # how many requests, by the second of routing


class Pending(msgspec.Struct):
    """`at`: served time at which the cell came."""

    at: float
    cell: Cell


class Skipped(NamedTuple):
    """The seconds of routing, from `first` to `last`, of which nothing counts on either side, whenever it ends."""

    first: int = ANY_SECOND + 1
    last: int = ANY_SECOND

    def entering(self, cells: Sequence[Cell], skips: bool) -> list[Cell]:
        """The cells that may count. `skips`: those routed at any time may not either."""
        return [
            cell
            for cell in cells
            if (not skips if cell.second == ANY_SECOND else not self.first <= cell.second <= self.last)
        ]


def ripe(
    pending: Iterable[Pending], now: float, waiting: Seconds, horizon: float = HORIZON
) -> tuple[list[Cell], list[Pending]]:
    """The cells that count from now on, in order of their seconds, and those that are still pending.

    `waiting`: the champion's requests without an answer.
    """
    first = min(waiting, default=None)
    out, kept = [], []
    for item in pending:
        second = item.cell.second
        answered = second == ANY_SECOND or first is None or second < first
        wait = 0.0 if second == ANY_SECOND else SETTLED if answered else max(horizon, SETTLED)
        if now - item.at >= wait:
            out.append(item.cell)
        else:
            kept.append(item)
    return sorted(out, key=lambda cell: cell.second), kept
