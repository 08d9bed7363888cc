"""A run: usual exchanges of one cell that are not counted yet. The recorder counts them at once, which is cheaper."""

from __future__ import annotations

from crossfade.stats.counts import CellKey


class Run:
    """Usual exchanges: answered with 200 by the assigned backend, within the first latency limit of the route.

    `seconds`: durations of the exchanges whose answer came in one piece. For the others, `first_bytes` holds
    the time to the first byte and `ends` the duration. On a guarded route, all were routed in the same second,
    `keys` has the key of each, or 0, and `endpoints` has the label of each endpoint that has one.
    """

    __slots__ = (
        "cell",
        "endpoints",
        "ends",
        "first_bytes",
        "guarded",
        "keys",
        "seconds",
        "since",
        "unkeyed",
        "until",
    )

    def __init__(self, cell: CellKey, guarded: bool) -> None:
        self.cell = cell
        self.guarded = guarded
        self.since = float(cell[4])  # its second, on a guarded route
        self.until = self.since + 1.0
        self.seconds: list[float] = []
        self.first_bytes: list[float] = []
        self.ends: list[float] = []
        self.unkeyed = 0
        self.keys: list[int] = []
        self.endpoints: list[str] = []
