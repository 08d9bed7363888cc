"""The latest outcomes of one backend in order, for the fuse and the guard.

Rule: they are counted in units. A request without a key is a unit. A key is one unit however many requests it has had, and
its latest outcome counts. So one customer whose requests fail on any model shows nothing alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import ANY_SECOND, is_bad, key_of


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """Outcomes that one tick brought. `at`: served time; `second`: of the monotonic clock, in which the requests were routed."""

    at: float
    outcomes: list[int]  # of `outcome_of`
    second: int = ANY_SECOND


class Row(NamedTuple):
    """The latest units, oldest first. `requests`: how many outcomes they were looked for in; `ticks`: of these, latest first."""

    units: list[int]
    requests: int
    ticks: list[Tick]

    @property
    def bad(self) -> int:
        return count_bad(self.units)


class RecentOutcomes(msgspec.Struct):
    """The latest outcomes of one backend by tick, oldest first."""

    ticks: list[Tick] = msgspec.field(default_factory=list)

    def add(self, outcomes: list[int], now: float, second: int = ANY_SECOND) -> None:
        """Add outcomes of one tick; ticks before the latest RECENT_KEPT outcomes are dropped."""
        if not outcomes:
            return
        self.ticks.append(Tick(now, outcomes, second))
        kept = sum(len(tick.outcomes) for tick in self.ticks)
        while kept - len(self.ticks[0].outcomes) >= RECENT_KEPT:
            kept -= len(self.ticks.pop(0).outcomes)

    def last(self, n: int, since: float = 0.0) -> Row:
        """The latest units, at most n, of ticks from `since` on."""
        units: list[int] = []
        ticks: list[Tick] = []
        seen: set[int] = set()
        requests = 0
        for tick in reversed(self.ticks):
            if tick.at < since or len(units) >= n:
                break
            ticks.append(tick)
            for outcome in reversed(tick.outcomes):
                if len(units) >= n:
                    break
                requests += 1
                if _is_new(outcome, seen):
                    units.append(outcome)
        return Row(units[::-1], requests, ticks)

    def growing(self, n: int) -> Iterator[Row]:
        """The latest units of whole ticks: n at least, then twice as many as before, and in the end all."""
        row, seen = Row([], 0, []), set[int]()
        for tick in reversed(self.ticks):
            new = [outcome for outcome in reversed(tick.outcomes) if _is_new(outcome, seen)]
            row = Row(new[::-1] + row.units, row.requests + len(tick.outcomes), [*row.ticks, tick])
            if len(row.units) >= n or tick is self.ticks[0]:
                yield row
                n = 2 * len(row.units)

    def during(self, since: float, until: float) -> list[int]:
        """The outcomes of the ticks from `since` to `until`, both included."""
        return [one for tick in self.ticks if since <= tick.at <= until for one in tick.outcomes]

    def routed(self, first: int, last: int) -> list[int]:
        """The outcomes of requests that were routed in these seconds, both included."""
        return [one for tick in self.ticks if first <= tick.second <= last for one in tick.outcomes]


def units_of(outcomes: list[int]) -> list[int]:
    """Each key once: its latest outcome."""
    seen: set[int] = set()
    return [outcome for outcome in reversed(outcomes) if _is_new(outcome, seen)][::-1]


def _is_new(outcome: int, seen: set[int]) -> bool:
    """Whether the outcome is the first of its unit; `seen`: keys, which the outcome's is added to."""
    key = key_of(outcome)
    if not key:
        return True
    if key in seen:
        return False
    seen.add(key)
    return True


def count_bad(outcomes: Iterable[int]) -> int:
    return sum(map(is_bad, outcomes))


def is_keyed(outcomes: Iterable[int]) -> bool:
    """Whether any of the outcomes has a key."""
    return any(map(key_of, outcomes))
