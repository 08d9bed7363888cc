"""Takes the oldest rows out of a prediction log, by age and by size, in portions.

Rule: a row stays for some time behind the horizon of feedback, so that its labels have entered the evidence; only a log
that is larger than it may be gives up rows before. The file keeps its size, and new rows fill what was freed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from crossfade.control.prediction_tables import newest_until

PART = 16  # at most one of so many rows goes at once for the size of the log: rows with inputs are large
_TABLES = ("copy", "input", "feedback", "prediction")


class Retention(NamedTuple):
    """Seconds, and bytes. `horizon`: of feedback; a row is kept for `keep` behind it."""

    horizon: float
    keep: float
    max: int


class Pruned(NamedTuple):
    """`rows` were deleted; `unripe` of them before the horizon. `file`: its bytes. `more`: others wait."""

    rows: int
    unripe: int
    file: int
    more: bool


def prune(
    connection: sqlite3.Connection, retention: Retention, now: float, portion: int, fed_to: int | None = None
) -> Pruned:
    """Delete at most `portion` rows that are too old or too many. `now`: wall time.

    `fed_to`: the place up to which the evidence has had the ripe rows; None where there is no evidence to have them. While it
    is behind, as after a long downtime, no row goes for its age.
    """
    first, last = _first(connection), _last(connection)
    too_old = newest_until(connection, now - retention.horizon - retention.keep)
    if fed_to is not None and fed_to < too_old:
        too_old = first - 1
    until = min(too_old, _seq_at(connection, portion))
    if size_of(connection) > retention.max:
        until = max(until, _seq_at(connection, min(portion, (last - first) // PART + 1)))
    if until < first:
        return Pruned(0, 0, file_size_of(connection), False)
    unripe = _count(connection, until, now - retention.horizon)
    rows = [connection.execute(f"DELETE FROM {table} WHERE seq <= ?", (until,)).rowcount for table in _TABLES]
    more = size_of(connection) > retention.max or too_old > until
    return Pruned(rows[-1], unripe, file_size_of(connection), more)


def size_of(connection: sqlite3.Connection) -> int:
    """The bytes of its pages that are in use."""
    free = _number(connection, "PRAGMA freelist_count") * _number(connection, "PRAGMA page_size")
    return file_size_of(connection) - free


def file_size_of(connection: sqlite3.Connection) -> int:
    return _number(connection, "PRAGMA page_count") * _number(connection, "PRAGMA page_size")


def _first(connection: sqlite3.Connection) -> int:
    return _number(connection, "SELECT IFNULL(MIN(seq), 0) FROM prediction")


def _last(connection: sqlite3.Connection) -> int:
    return _number(connection, "SELECT IFNULL(MAX(seq), 0) FROM prediction")


def _seq_at(connection: sqlite3.Connection, number: int) -> int:
    """Of the row with this number, counted from the oldest one; of the last if there are fewer."""
    query = "SELECT MAX(seq) FROM (SELECT seq FROM prediction ORDER BY seq LIMIT ?)"
    return _number(connection, f"SELECT IFNULL(({query}), 0)", (number,))


def _count(connection: sqlite3.Connection, until: int, since: float) -> int:
    """Rows up to `until` that were logged after `since`."""
    query = "SELECT COUNT(*) FROM prediction WHERE seq <= ? AND logged_at > ?"
    return _number(connection, query, (until, since))


def _number(connection: sqlite3.Connection, query: str, values: Iterable[float] = ()) -> int:
    (found,) = connection.execute(query, tuple(values)).fetchone()
    return int(found)
