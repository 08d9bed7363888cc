"""What pairs said, by route and challenger, since the attempt of the rollout or the mirror began.

Rule: nothing is decided by it. A comparison is of one champion and one challenger: with another champion it starts empty.
"""

from __future__ import annotations

import logging
from collections.abc import Container

import msgspec

from crossfade.quality.table import ComparisonTable

MOST_CHALLENGERS = 8  # of a route; the comparison that ended first is forgotten


class Comparison(msgspec.Struct):
    """`since` and `until`: seconds since the epoch, when it began and when its last pairs came."""

    route: str
    champion: str
    challenger: str
    since: float
    until: float
    table: ComparisonTable = msgspec.field(default_factory=ComparisonTable)


log = logging.getLogger("crossfade.control")


class Comparisons:
    def __init__(self) -> None:
        self.by_route: dict[str, dict[str, Comparison]] = {}

    def add(
        self, route: str, challenger: str, champion: str, table_delta: ComparisonTable, now: float
    ) -> None:
        held = self.by_route.setdefault(route, {})
        found = held.get(challenger)
        if found is None or found.champion != champion:
            found = held[challenger] = Comparison(route, champion, challenger, now, now)
        found.table.merge(table_delta)
        found.until = max(found.until, now)
        while len(held) > MOST_CHALLENGERS:
            del held[min(held.values(), key=lambda each: each.until).challenger]

    def of(self, route: str) -> list[Comparison]:
        """The one with the latest pairs first."""
        return sorted(self.by_route.get(route, {}).values(), key=lambda each: -each.until)

    def keep(self, routes: Container[str]) -> None:
        """Forget those of all other routes."""
        self.by_route = {route: held for route, held in self.by_route.items() if route in routes}

    def begin(self, route: str, challenger: str, now: float) -> None:
        """A new attempt of the challenger: its comparison starts empty."""
        held = self.by_route.get(route, {})
        if challenger in held:
            held[challenger] = Comparison(route, held[challenger].champion, challenger, now, now)

    def restore(self, saved: bytes | None) -> None:
        """What was saved with the state. Nothing is decided by it, so a start does not fail where it cannot be read."""
        if saved is None:
            return
        try:
            found = Comparisons.from_bytes(saved)
        except msgspec.MsgspecError as error:
            log.error("saved comparisons cannot be read, and start empty: %s", error)
            return
        for route, held in found.by_route.items():
            self.by_route[route] = held | self.by_route.get(route, {})

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode([each for held in self.by_route.values() for each in held.values()])

    @classmethod
    def from_bytes(cls, saved: bytes) -> Comparisons:
        """Raises msgspec.DecodeError."""
        out = cls()
        for each in msgspec.msgpack.decode(saved, type=list[Comparison]):
            out.by_route.setdefault(each.route, {})[each.challenger] = each
        return out
