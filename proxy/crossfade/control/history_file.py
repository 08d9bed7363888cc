"""The file with the history of all routes, beside the state. All of it is used in one thread.

Rule: the history decides nothing, so a file that is damaged, deleted or of another format is put aside and begun anew, and a disk
that is full loses points and nothing else. Points of the last minutes are rows of all routes; when their ten minutes are over, one
transaction makes blocks by route of them, for each level, and adds them to the sums of the day. So a crash counts nothing twice.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from crossfade.control.database import IN_MEMORY, make_private, open_database
from crossfade.control.history_points import (
    COUNTED,
    DAY,
    FINEST,
    LEVELS,
    Level,
    Point,
    by_step,
    column,
    joined,
    packed,
    unpacked,
)
from crossfade.stats.histogram import Histogram

log = logging.getLogger("crossfade.history")

LIMIT = 256 * 1024 * 1024  # bytes of the file; beyond it the oldest of the finest points go first
FORMAT = 1
KEPT_IN_MEMORY = 60  # samples that wait for a disk that does not take them
DAYS_KEPT = 31
SCHEMA = """
CREATE TABLE recent (at INTEGER PRIMARY KEY, points BLOB NOT NULL);
CREATE TABLE blocks (step INTEGER, route TEXT, start INTEGER, points BLOB NOT NULL, PRIMARY KEY (step, route, start));
CREATE TABLE days (route TEXT, day INTEGER, sums BLOB NOT NULL, PRIMARY KEY (route, day));
"""
PointsBy = dict[str, Point]  # by route
# SQLite may read a torn page as values that the tables cannot have.
FAULTS = (sqlite3.Error, OSError, ValueError, TypeError, msgspec.MsgspecError)


class DaySums(msgspec.Struct, array_like=True):
    """Of one series: `counts` in the order of COUNTED, and all durations."""

    counts: list[float]
    durations: Histogram

    def add(self, other: DaySums) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.durations.merge(other.durations)


SumsBy = dict[str, DaySums]  # by series


class HistoryFile:
    """What reads raises FAULTS; call `fail` with it."""

    def __init__(self, path: str, limit: int = LIMIT) -> None:
        self.path = path
        self.limit = limit
        self.connection: sqlite3.Connection | None = None
        self.inode: tuple[int, int] | None = None
        self.unwritten: deque[tuple[int, PointsBy]] = deque(maxlen=KEPT_IN_MEMORY)
        self.error = ""  # why the last sample was not written

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def add(self, at: int, points: PointsBy) -> None:
        """Write the points of ten seconds. What cannot be written waits in memory, as far as there is room."""
        self.unwritten.append((at, points))
        try:
            with self._atomic() as connection:
                for when, each in self.unwritten:
                    _write_recent(connection, when, each)
                self._seal(connection, at - at % FINEST.block)
        except FAULTS as error:
            self.fail(error)
            return
        self.unwritten.clear()
        if self.error:
            log.warning("the history is written again")
        self.error = ""

    def fail(self, error: Exception) -> None:
        """After an error of a method: say so once, and put a file aside that is damaged."""
        if not self.error:
            log.warning("the history is not written: %s; the last %d points wait", error, KEPT_IN_MEMORY)
        self.error = str(error)
        if _is_damage(error):
            self._put_aside(repr(error))

    def _seal(self, connection: sqlite3.Connection, before: int) -> None:
        """Make blocks of the recent points before this time."""
        rows = connection.execute("SELECT at, points FROM recent WHERE at < ?", (before,)).fetchall()
        if not rows:
            return
        by_route: dict[str, dict[int, Point]] = {}
        for at, body in rows:
            for route, point in msgspec.msgpack.decode(body, type=PointsBy).items():
                by_route.setdefault(route, {})[at] = point
        for route, points in by_route.items():
            for level in LEVELS:
                points = by_step(points, level.step)
                _add_to_blocks(connection, route, level, points)
            _add_to_days(connection, route, by_step(points, DAY))
        connection.execute("DELETE FROM recent WHERE at < ?", (before,))
        for level in LEVELS:
            oldest = before - level.keep - level.block
            connection.execute("DELETE FROM blocks WHERE step = ? AND start < ?", (level.step, oldest))
        connection.execute("DELETE FROM days WHERE day < ?", (before - DAYS_KEPT * DAY,))
        self._make_room(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        while _used(connection) > self.limit:
            found = connection.execute(
                "SELECT step, min(start) FROM blocks GROUP BY step ORDER BY step LIMIT 1"
            )
            oldest = found.fetchone()
            if oldest is None:
                return
            connection.execute("DELETE FROM blocks WHERE step = ? AND start = ?", oldest)

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def points(self, route: str, level: Level, since: int, until: int) -> dict[int, Point]:
        """Those that begin from `since` to before `until`, by time; joined to the step of the level."""
        with self._atomic() as connection:
            out: dict[int, Point] = {}
            clause = (
                "SELECT start, points FROM blocks WHERE step = ? AND route = ? AND start > ? AND start < ?"
            )
            for start, block in connection.execute(clause, (level.step, route, since - level.block, until)):
                out |= unpacked(block, start, level)
            recent = self._recent(connection, route)
        for at, point in by_step(recent, level.step).items():
            out[at] = joined([out[at], point]) if at in out else point
        return {at: point for at, point in out.items() if since <= at < until}

    def _recent(self, connection: sqlite3.Connection, route: str) -> dict[int, Point]:
        out: dict[int, Point] = {}
        for at, body in connection.execute("SELECT at, points FROM recent ORDER BY at"):
            found = msgspec.msgpack.decode(body, type=dict[str, msgspec.Raw]).get(route)
            if found is not None:
                out[at] = msgspec.msgpack.decode(found, type=Point)
        for at, points in self.unwritten:
            if route in points:
                out[at] = joined([out[at], points[route]]) if at in out else points[route]
        return out

    def sums(self, since: int) -> dict[str, SumsBy]:
        """By route and series, of the days from `since` on and of what is not in a day yet."""
        out: dict[str, SumsBy] = {}
        with self._atomic() as connection:
            for route, body in connection.execute("SELECT route, sums FROM days WHERE day >= ?", (since,)):
                _add_sums(out.setdefault(route, {}), msgspec.msgpack.decode(body, type=SumsBy))
            rows = connection.execute("SELECT at, points FROM recent").fetchall()
        found = [(at, msgspec.msgpack.decode(body, type=PointsBy)) for at, body in rows]
        for at, points in [*found, *self.unwritten]:
            if at >= since:
                for route, point in points.items():
                    _add_sums(out.setdefault(route, {}), _sums_of(point))
        return out

    # ── the file ──────────────────────────────────────────────────────────────────────────────

    def _atomic(self) -> _Atomic:
        return _Atomic(self._open())

    def _open(self) -> sqlite3.Connection:
        """Opened again where the file was deleted or replaced: what is written there nobody would read."""
        if self.connection is not None and self.inode == _inode_of(self.path):
            return self.connection
        self.close()
        if self.path != IN_MEMORY:
            make_private(self.path)
        self.connection = connection = open_database(self.path)
        self.inode = _inode_of(self.path)
        try:
            (written,) = connection.execute("PRAGMA user_version").fetchone()
            if written not in (0, FORMAT):
                raise sqlite3.DatabaseError(f"it has format {written}, and this version writes {FORMAT}")
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise sqlite3.DatabaseError(sound)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if not written:
                connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT")
        except sqlite3.Error as error:
            self.close()
            if not _is_damage(error):
                raise
            self._put_aside(str(error))
            return self._open()
        return connection

    def _put_aside(self, why: str) -> None:
        """The file as `PATH.damaged`, where somebody may look at it; it replaces one of before."""
        self.close()
        log.error("%s is put aside as %s.damaged, and begun anew: %s", self.path, self.path, why)
        os.replace(self.path, f"{self.path}.damaged")
        for name in (f"{self.path}-wal", f"{self.path}-shm"):
            Path(name).unlink(missing_ok=True)

    def close(self) -> None:
        if self.connection is not None:
            with suppress(sqlite3.Error):
                self.connection.close()
        self.connection = None


class _Atomic:
    """All or nothing; for reading too, so that what is read is of one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self.connection.execute("BEGIN")
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.connection.execute("COMMIT")
        elif self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def _write_recent(connection: sqlite3.Connection, at: int, points: PointsBy) -> None:
    """With what a proxy before, or the one that was restarted, had in the same ten seconds."""
    found = connection.execute("SELECT points FROM recent WHERE at = ?", (at,)).fetchone()
    if found is not None:
        before = msgspec.msgpack.decode(found[0], type=PointsBy)
        both = [route for route in points if route in before]
        points = before | points | {route: joined([before[route], points[route]]) for route in both}
    connection.execute("INSERT OR REPLACE INTO recent VALUES (?, ?)", (at, msgspec.msgpack.encode(points)))


def _add_to_blocks(
    connection: sqlite3.Connection, route: str, level: Level, points: Mapping[int, Point]
) -> None:
    starts: dict[int, dict[int, Point]] = {}
    for at, point in points.items():
        starts.setdefault(at - at % level.block, {})[at] = point
    for start, more in starts.items():
        key = level.step, route, start
        clause = "SELECT points FROM blocks WHERE step = ? AND route = ? AND start = ?"
        found = connection.execute(clause, key).fetchone()
        block = packed(more, start, level, found[0] if found else None)
        connection.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)", (*key, block))


def _add_to_days(connection: sqlite3.Connection, route: str, points: Mapping[int, Point]) -> None:
    for day, point in points.items():
        sums = _sums_of(point)
        found = connection.execute(
            "SELECT sums FROM days WHERE route = ? AND day = ?", (route, day)
        ).fetchone()
        if found:
            _add_sums(sums, msgspec.msgpack.decode(found[0], type=SumsBy))
        if sums:
            connection.execute(
                "INSERT OR REPLACE INTO days VALUES (?, ?, ?)", (route, day, msgspec.msgpack.encode(sums))
            )


def _sums_of(point: Point) -> SumsBy:
    return {
        of: DaySums(
            [point.values.get(column(field, of), 0.0) for field in COUNTED],
            Histogram(dict(buckets), sum(buckets.values())),
        )
        for of, buckets in point.durations.items()
    }


def _add_sums(sums: SumsBy, more: SumsBy) -> None:
    for of, each in more.items():
        if of in sums:
            sums[of].add(each)
        else:
            sums[of] = each


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use."""
    (pages,), (free,), (size,) = (
        connection.execute(f"PRAGMA {name}").fetchone()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_damage(error: Exception) -> bool:
    """Whether the file is to blame, and not the disk: it is malformed, no database, or has values that nobody wrote."""
    return type(error) is sqlite3.DatabaseError or not isinstance(error, sqlite3.Error | OSError)
