"""What is known of decisions at a glance, without their evidence: for the time axis of a page, and to count them.

Rule: the journal is read a few records at a time, as a thread that reads it serves others too. What has been read once is kept, for
a decision never changes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from crossfade.control.journal import Journal
from crossfade.control.refusal import Unreadable

AT_ONCE = 200  # records
MOST_MARKS = 500  # in one answer
IN_STEPS = ("begin", "advance", "abort")  # they move traffic, and nobody else is in charge by them
_KPI = "kpi "

T = TypeVar("T")


class Kpi(msgspec.Struct):
    """What the check of a number said when the decision was made; `interval`: of the estimate, at 95 %."""

    name: str
    estimate: float | None
    interval: tuple[float, float] | None


class DecisionMark(msgspec.Struct):
    id: int
    at: float
    action: str
    reason: str


class Mark(msgspec.Struct):
    """`leader`: the backend with the largest share behind it; `before`: the one before it, "" for a new route."""

    id: int
    at: float
    route: str
    action: str
    reason: str
    leader: str
    before: str
    kpi: Kpi | None


class _Verdict(msgspec.Struct):
    check: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None


async def marks_of(journal: Journal, route: str, since: float, until: float) -> list[DecisionMark]:
    """The latest of the route in this time, in order. Raises Unreadable."""
    owed = [d for d, _ in journal.owed if d.route == route and since <= d.at < until]
    found = await _read(journal, _select_marks, route, since, until)
    last = found[-1].id if found else 0
    return [*found, *(DecisionMark(d.id, d.at, d.action, d.reason) for d in owed if d.id > last)]


class Marks:
    """Of all routes and of all decisions that the journal holds, in order."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.by_route: dict[str, list[Mark]] = {}
        self.last = 0
        self._reading = asyncio.Lock()

    async def read(self) -> dict[str, list[Mark]]:
        """By route. Decisions that are in force and not in the journal yet come when they are. Raises Unreadable."""
        async with self._reading:
            while found := await _read(self.journal, _select_all, self.last):
                for mark in found:
                    self.by_route.setdefault(mark.route, []).append(mark)
                self.last = found[-1].id
        return self.by_route


async def _read(journal: Journal, select: Callable[..., T], *arguments: object) -> T:
    store = journal.store
    try:
        return await asyncio.get_running_loop().run_in_executor(
            store.read_thread, select, store.reader, *arguments
        )
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise Unreadable(f"{store.name}: cannot read the journal: {error}") from error


def _select_marks(reader: sqlite3.Connection, route: str, since: float, until: float) -> list[DecisionMark]:
    clause = (
        "SELECT id, at, json_extract(record, '$.action'), json_extract(record, '$.reason') FROM decisions "
        "WHERE route = ? AND at >= ? AND at < ? ORDER BY id DESC LIMIT ?"
    )
    return [DecisionMark(*row) for row in reader.execute(clause, (route, since, until, MOST_MARKS))][::-1]


def _select_all(reader: sqlite3.Connection, after: int) -> list[Mark]:
    clause = (
        "SELECT id, at, route, json_extract(record, '$.action'), json_extract(record, '$.reason'), "
        "json_extract(record, '$.to.split'), json_extract(record, '$.from.split'), "
        "json_extract(record, '$.evidence.verdicts') FROM decisions WHERE id > ? ORDER BY id LIMIT ?"
    )
    return [_mark(row) for row in reader.execute(clause, (after, AT_ONCE))]


def _mark(row: tuple[Any, ...]) -> Mark:
    number, at, route, action, reason, after, before, verdicts = row
    said = msgspec.json.decode(verdicts or "[]", type=list[_Verdict])
    return Mark(number, at, route, action, reason, _leader(after), _leader(before), _kpi(said))


def _leader(split: str | None) -> str:
    """ "" where nobody has more than the others."""
    shares = msgspec.json.decode(split or "{}", type=dict[str, float])
    ordered = sorted(shares, key=shares.__getitem__, reverse=True)
    is_tie = len(ordered) > 1 and shares[ordered[0]] == shares[ordered[1]]
    return ordered[0] if ordered and not is_tie else ""


def _kpi(verdicts: Iterable[_Verdict]) -> Kpi | None:
    """The first one that is told of."""
    for verdict in verdicts:
        if verdict.check.startswith(_KPI) and verdict.estimate is not None:
            return Kpi(verdict.check.split()[1], verdict.estimate, verdict.interval)
    return None
