"""Feedback in the tables of a prediction log: the rows of one chunk are joined to their predictions and stored.

Rule: each function is one transaction of the writing thread (`PredictionLogs.write`), where the order of all rows is total.
A row that comes before its prediction waits in `early`, and `join_early` takes it from there.

A time means the requests that had begun then: a caller may take it when it asks, or when it has the answer. An id or a key
may have many predictions, so none of them is looked for from end to end: `logged_at` never falls, so a search by halves finds
the row from which on it is only a few rows back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

from crossfade.control.prediction_tables import PART_BITS, id_hash, newest_of, newest_until, parts, signed
from crossfade.quality.feedback import LABEL, WRITTEN, Feedback, Known, Limits, Outcome, Value, outcome_of
from crossfade.routing.ledger import hash_of

WAIT = 60.0  # seconds that feedback waits for its prediction
SETTLED = (
    10.0  # seconds after which all predictions of a time are in the log: workers and disks have their delays
)
REPORTING = 120.0  # seconds from the begin of a request to `logged_at` that a search by time allows for
MOST_EARLY = 100_000  # rows that wait in one log

_BY_ID = "id_hash = ? AND request_id = ?"
_BY_KEY = "key = ?"
_FIND = f"""
SELECT p.seq, p.logged_at, f.value, f.first_at, f.at FROM prediction p LEFT JOIN feedback f ON f.seq = p.seq AND f.name = ?
WHERE p.seq >> {PART_BITS} = ? AND p.{{}} ORDER BY p.seq DESC LIMIT 1
"""
_FIND_BY_ID = _FIND.format(_BY_ID)
_FIND_BY_ID_AT = _FIND.format(f"{_BY_ID} AND p.seq <= ? AND p.at - p.seconds <= ?")
_FIND_BY_KEY_AT = _FIND.format(f"{_BY_KEY} AND p.seq <= ? AND p.at - p.seconds <= ?")
_FIND_AT = """
SELECT p.seq, p.logged_at, f.value, f.first_at, f.at FROM prediction p LEFT JOIN feedback f ON f.seq = p.seq AND f.name = ?
WHERE p.seq = ? AND p.request_id = ?
"""
_STORE = """
INSERT INTO feedback (seq, name, value, at, first_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (seq, name) DO UPDATE SET value = excluded.value, at = excluded.at
"""


class Stored(NamedTuple):
    """What became of one row. `seconds`: the age of its prediction, where there is one."""

    outcome: Outcome
    name: str
    seconds: float = 0.0


class Early(NamedTuple):
    """What became of rows that waited. `seq`: of the newest prediction that they were compared with. `expired`: names of rows
    whose prediction has not come; `left`: rows that go on waiting.
    """

    seq: int
    joined: list[Stored]
    expired: list[str]
    left: int


class _Found(NamedTuple):
    """`came`: when the value in force came."""

    seq: int
    known: Known
    came: float = 0.0


def store(
    connection: sqlite3.Connection,
    rows: Sequence[Feedback],
    now: float,
    limits: Limits,
    salt: bytes,
    shared: bool,
) -> list[Stored]:
    """What became of each row, in their order. `now`: wall time. `salt`: of the route's sticky keys.

    `shared`: rows without a prediction wait in other logs too.
    """
    writing = _Writing(connection, now, limits)
    writing.look_up(row.request_id for row in rows if row.request_id and row.at is None)
    for row in rows:
        if row.request_id:
            found = writing.find_by_id(row)
            if found is None and (row.at is None or row.at + WAIT > now):
                writing.early.append((row.request_id, row.name, row.value, now, shared))
        else:
            found = writing.find_by_key(signed(hash_of(row.key, salt)), row)
        writing.judge(found, row.name, row.value)
    writing.finish()
    return writing.stored


class _Writing:
    """The rows of one transaction. What is written by it is known to the rows behind, before it is in the table."""

    def __init__(self, connection: sqlite3.Connection, now: float, limits: Limits) -> None:
        self.connection = connection
        self.now = now
        self.limits = limits
        self.stored: list[Stored] = []
        self.pending: dict[tuple[int, str], _Found] = {}
        self.early: list[tuple[bytes, str, Value, float, bool]] = []
        self.early_keys: list[tuple[int, float, str, Value, float]] = []
        self.bounds: dict[int, int] = {}
        self.parts = parts(connection)
        self.newest: dict[int, int] = {}  # by hash of an id; of those in `looked_up`
        self.looked_up: frozenset[int] = frozenset()

    def look_up(self, request_ids: Iterable[bytes]) -> None:
        """Find the newest prediction of each id at once: one by one, they cost ten times as much in a large log."""
        self.looked_up = frozenset(map(id_hash, request_ids))
        self.newest = newest_of(self.connection, self.looked_up)

    def find_by_id(self, row: Feedback) -> _Found | None:
        named = (id_hash(row.request_id), row.request_id)
        if row.at is None:
            return self._find_newest(named, row.name)
        bound = self._bound(row.at)
        return self._find(_FIND_BY_ID_AT, (*named, bound, row.at), row.name, bound)

    def _find_newest(self, named: tuple[int, bytes], name: str) -> _Found | None:
        hashed, request_id = named
        if hashed in self.looked_up:
            seq = self.newest.get(hashed)
            if seq is None:
                return None
            found = self.connection.execute(_FIND_AT, (name, seq, request_id)).fetchone()
            if found is not None:
                return self._known(found, name)
        return self._find(_FIND_BY_ID, named, name, None)  # another id may have the same hash

    def find_by_key(self, key: int, row: Feedback) -> _Found | None:
        """Waits where a later prediction may still be on its way to the log."""
        assert row.at is not None
        if row.at + SETTLED > self.now:
            self.early_keys.append((key, row.at, row.name, row.value, self.now))
            return None
        return self.find_key(key, row.at, row.name)

    def find_key(self, key: int, until: float, name: str) -> _Found | None:
        bound = self._bound(until)
        return self._find(_FIND_BY_KEY_AT, (key, bound, until), name, bound)

    def _find(self, query: str, values: tuple[object, ...], name: str, bound: int | None) -> _Found | None:
        """The newest one, from part to part of the index. `bound`: no later `seq`."""
        newest = None if bound is None else bound >> PART_BITS
        for part in self.parts:
            if newest is not None and part > newest:
                continue
            found = self.connection.execute(query, (name, part, *values)).fetchone()
            if found is not None:
                return self._known(found, name)
        return None

    def _known(self, found: tuple[int, float, Value | None, float | None, float | None], name: str) -> _Found:
        seq, logged_at, value, first_at, came = found
        written = self.pending.get((seq, name))
        return written or _Found(seq, Known(logged_at, value, first_at or 0.0), came or 0.0)

    def _bound(self, at: float) -> int:
        """No row above this `seq` is of this time or before; the same for all times of one second."""
        second = ceil(at)
        if second not in self.bounds:
            self.bounds[second] = newest_until(self.connection, second + REPORTING)
        return self.bounds[second]

    def judge(self, found: _Found | None, name: str, value: Value, came: float | None = None) -> None:
        """`came`: of a row that waited. A value that came behind it, or in the same tick, has corrected it by now."""
        known = found.known if found is not None else None
        outcome = outcome_of(known, value, self.now, self.limits)
        if found is not None and outcome in WRITTEN and (came is None or came > found.came):
            came = self.now if came is None else came
            first_at = came if found.known.value is None else found.known.first_at
            self.pending[found.seq, name] = _Found(
                found.seq, Known(found.known.logged_at, value, first_at), came
            )
        self.stored.append(Stored(outcome, name, self.now - known.logged_at if known else 0.0))

    def finish(self) -> None:
        rows = (
            (seq, name, written.known.value, written.came, written.known.first_at)
            for (seq, name), written in self.pending.items()
        )
        self.connection.executemany(_STORE, rows)
        if self.early or self.early_keys:
            room = max(MOST_EARLY - early_rows(self.connection), 0)
            self.connection.executemany(
                "INSERT OR REPLACE INTO early VALUES (?, ?, ?, ?, ?)", self.early[:room]
            )
            room = max(room - len(self.early), 0)
            self.connection.executemany(
                "INSERT OR REPLACE INTO early_key VALUES (?, ?, ?, ?, ?)", self.early_keys[:room]
            )


def early_rows(connection: sqlite3.Connection) -> int:
    (rows,) = connection.execute(
        "SELECT (SELECT count(*) FROM early) + (SELECT count(*) FROM early_key)"
    ).fetchone()
    return int(rows)


def ids_in(connection: sqlite3.Connection, request_ids: Sequence[bytes]) -> set[bytes]:
    """Those of the ids that have a prediction in this log. Only reads."""
    writing = _Writing(connection, 0.0, Limits(0.0, 0.0))
    writing.look_up(request_ids)
    return {one for one in request_ids if writing.find_by_id(Feedback(one, LABEL, 0)) is not None}


def join_early(connection: sqlite3.Connection, after: int | None, now: float, limits: Limits) -> Early:
    """Join rows that wait to predictions with a seq above `after`, or to all (None), and let go those that waited too long."""
    (newest,) = connection.execute("SELECT max(seq) FROM prediction").fetchone()
    writing = _Writing(connection, now, limits)
    _join_ids(writing, after)
    _join_keys(writing)
    writing.finish()
    old = (now - WAIT,)
    gone = connection.execute("SELECT name FROM early WHERE at <= ? AND NOT shared", old).fetchall()
    connection.execute("DELETE FROM early WHERE at <= ?", old)
    joined = [stored for stored in writing.stored if stored.outcome is not Outcome.UNMATCHED]
    lost = [stored.name for stored in writing.stored if stored.outcome is Outcome.UNMATCHED]
    return Early(newest or 0, joined, [*lost, *(name for (name,) in gone)], early_rows(connection))


def _join_ids(writing: _Writing, after: int | None) -> None:
    connection = writing.connection
    query = "SELECT request_id, name, value, at FROM early"
    if after is not None:
        query = (
            "SELECT e.request_id, e.name, e.value, e.at FROM prediction p CROSS JOIN early e "
            "ON e.request_id = p.request_id WHERE p.seq > ? GROUP BY e.request_id, e.name"
        )
    done = []
    for request_id, name, value, came in connection.execute(
        query, () if after is None else (after,)
    ).fetchall():
        found = writing.find_by_id(Feedback(request_id, name, value))
        if found is not None:
            writing.judge(found, name, value, came)
            done.append((request_id, name))
    connection.executemany("DELETE FROM early WHERE request_id = ? AND name = ?", done)


def _join_keys(writing: _Writing) -> None:
    """Those whose predictions are all in the log by now."""
    settled = writing.now - SETTLED
    query = "SELECT key, until, name, value, at FROM early_key WHERE until <= ? ORDER BY at"
    for key, until, name, value, came in writing.connection.execute(query, (settled,)).fetchall():
        writing.judge(writing.find_key(key, until, name), name, value, came)
    writing.connection.execute("DELETE FROM early_key WHERE until <= ?", (settled,))
