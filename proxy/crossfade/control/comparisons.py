"""What pairs said, by route and challenger, since the attempt of the rollout or the mirror began.

Rule: nothing is decided by it. A comparison is of one champion, one challenger, one attempt of its rollout and one way of reading
answers: with another one it starts empty, also where the change came while the proxy was stopped. What the observer says later of
pairs from before does not join it.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from typing import NamedTuple

import msgspec

from crossfade.quality.table import ComparisonTable

MOST_CHALLENGERS = 8  # of a route; the comparison that ended first is forgotten


class Comparison(msgspec.Struct):
    """`since` and `until`: seconds since the epoch, when it began and when its last pairs came. `attempt`: of the rollout, empty
    without one; `as_read`: how answers are read.
    """

    route: str
    champion: str
    challenger: str
    since: float
    until: float
    table: ComparisonTable = msgspec.field(default_factory=ComparisonTable)
    attempt: str = ""
    as_read: str = ""


class Attempt(NamedTuple):
    """`version`: of the ledger, when it began."""

    name: str
    version: int


log = logging.getLogger("crossfade.control")


class Comparisons:
    def __init__(self) -> None:
        self.by_route: dict[str, dict[str, Comparison]] = {}
        self.as_read: dict[str, str] = {}  # by route
        self.attempts: dict[str, dict[str, Attempt]] = {}  # by route and challenger

    def expect(self, route: str, as_read: str, attempts: Mapping[str, str], version: int, now: float) -> None:
        """From now on, with the configuration and the state. `attempts`: by challenger; `version`: of the ledger; `now`: wall time."""
        is_known, known = route in self.as_read, self.attempts.get(route, {})
        self.as_read[route] = as_read
        begun = {
            challenger: Attempt(name, version)
            for challenger, name in attempts.items()
            if challenger not in known or known[challenger].name != name
        }
        self.attempts[route] = {
            challenger: known[challenger] for challenger in attempts if challenger in known
        } | begun
        for challenger, found in self.by_route.get(route, {}).items():
            other = attempts.get(challenger, found.attempt) != found.attempt
            if other or found.as_read != as_read or (is_known and challenger in begun):
                self._begin(route, challenger, found.champion, now)

    def is_late(self, route: str, challenger: str, as_read: str, version: int) -> bool:
        """Whether pairs that were routed by this version of the ledger, and read so, are of a comparison that has ended."""
        attempt = self.attempts.get(route, {}).get(challenger)
        return as_read != self.as_read.get(route, as_read) or (
            attempt is not None and version < attempt.version
        )

    def add(
        self, route: str, challenger: str, champion: str, table_delta: ComparisonTable, now: float
    ) -> None:
        held = self.by_route.setdefault(route, {})
        found = held.get(challenger)
        if found is None or found.champion != champion:
            found = self._begin(route, challenger, champion, now)
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
        self.as_read = {route: how for route, how in self.as_read.items() if route in routes}
        self.attempts = {route: held for route, held in self.attempts.items() if route in routes}

    def _begin(self, route: str, challenger: str, champion: str, now: float) -> Comparison:
        attempt = self.attempts.get(route, {}).get(challenger)
        name = "" if attempt is None else attempt.name
        made = Comparison(
            route, champion, challenger, now, now, attempt=name, as_read=self.as_read.get(route, "")
        )
        self.by_route.setdefault(route, {})[challenger] = made
        return made

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
