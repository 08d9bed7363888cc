"""The durable state in SQLite: the decisions in order, and the record and evidence of each route.

Rule: a decision and the state it leads to are written in one transaction and synced to disk before
`commit` returns. Evidence is saved without a sync: losing its last second is only a second of counts.
The caller holds the lock on the state (`workers/state_lock`). Redis is refused until there are replicas.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from crossfade.control import migrations
from crossfade.control.applied import Applied
from crossfade.control.chain import GENESIS, Row
from crossfade.control.migrations import FormatError
from crossfade.control.served_clock import ServedClock
from crossfade.control.views import Decision
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.routing.ledger import BUCKETS, Ledger, salt_of

log = logging.getLogger("crossfade.store")

BUSY_TIMEOUT = 0.2  # seconds; a reader's lock is brief, and the health loop must not wait
IN_MEMORY = ":memory:"
PRIVATE = 0o600  # the mode of files that hold the state


class StoreError(Exception):
    """The store cannot be opened, read or written; the message is for the operator."""


EvidenceBy = dict[str, Evidence]  # by challenger


class RouteRecord(msgspec.Struct, frozen=True):
    """The durable state of a route. `home`: the map without challengers, which abort and rollback restore.

    `rollouts` by challenger, in the order of the file. `latched`: content ids of aborted challengers, with the
    reason; they stay until `retry`. `left_at`: when the route left the file.
    """

    name: str
    ledger: Ledger
    applied: Applied
    home: Ledger | None = None
    rollouts: dict[str, RolloutState] = {}
    latched: dict[str, str] = {}
    left_at: float | None = None

    @property
    def salt(self) -> bytes:
        """Of the hash of sticky keys. A route that was renamed keeps it, so that customers keep their backends."""
        return salt_of(self.applied.hashed_as or self.name)

    def other_phases(self, challenger: str) -> dict[str, Phase]:
        """By challenger."""
        return {name: state.phase for name, state in self.rollouts.items() if name != challenger}


class Batch(NamedTuple):
    """The rows of one transaction, encoded."""

    decisions: list[tuple[object, ...]]
    states: list[tuple[object, ...]]
    removed: list[tuple[str]]


def batch_of(
    decisions: Iterable[Decision],
    records: Iterable[tuple[RouteRecord, EvidenceBy]],
    removed: Iterable[str] = (),
) -> Batch:
    return Batch(
        [(d.id, d.at, d.route, d.hash, msgspec.json.encode(d).decode()) for d in decisions],
        [row_of(record, evidence) for record, evidence in records],
        [(name,) for name in removed],
    )


def clock_row(clock: ServedClock) -> tuple[str]:
    return (text(SavedClock(clock.served, clock.wall)),)


def evidence_rows(evidence: Mapping[str, EvidenceBy]) -> list[tuple[bytes, str]]:
    """By route."""
    return [(msgspec.msgpack.encode(e), route) for route, e in evidence.items()]


class Store:
    """Use `Store.open`. Every method raises StoreError.

    Once a loop runs, call `commit` and `save_evidence` in `write_thread`, and what reads in `read_thread`: a
    connection belongs in one thread at a time.
    """

    def __init__(self, connection: sqlite3.Connection, reader: sqlite3.Connection, name: str) -> None:
        """`reader`: a second connection, so that a read does not wait for a write; in memory there is only one."""
        self.connection = connection
        self.reader = reader
        self.name = name
        self.write_thread = ThreadPoolExecutor(1, "crossfade-store")
        self.read_thread = self.write_thread if name == IN_MEMORY else ThreadPoolExecutor(1, "crossfade-read")

    @classmethod
    def open(cls, state: str) -> Store:
        """`sqlite:PATH` or `sqlite::memory:`, as in the configuration's `state`."""
        path = path_of(state) or IN_MEMORY
        connection = connect(path)
        return cls(connection, connection if path == IN_MEMORY else reader_of(path), path)

    @classmethod
    def read(cls, path: str) -> Store:
        """For reading only and without the lock, so also while a proxy runs. The file is never changed."""
        if not Path(path).is_file():
            raise StoreError(f"{path}: there is no such file")
        connection = None
        try:
            connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
            written = migrations.format_of(connection)
            if written is None:
                raise StoreError(f"{path}: there is no journal in it")
            if written < migrations.FORMAT:
                connection = upgraded_copy(connection, path, written)
        except (sqlite3.Error, FormatError, StoreError) as error:
            if connection is not None:
                connection.close()
            raise error if isinstance(error, StoreError) else StoreError(f"{path}: {error}") from error
        return cls(connection, connection, path)

    def close(self) -> None:
        """Waits for the threads: closing a connection during a write crashes the process."""
        self.write_thread.shutdown()
        self.read_thread.shutdown()
        self.reader.close()
        self.connection.close()

    def commit(self, batch: Batch) -> None:
        """In one transaction, on disk when this returns."""
        try:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                self.connection.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", batch.decisions)
                self.connection.executemany(
                    "INSERT OR REPLACE INTO route_state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    batch.states,
                )
                self.connection.executemany("DELETE FROM route_state WHERE route = ?", batch.removed)
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot write: {error}") from error

    def save_evidence(self, rows: Sequence[tuple[bytes, str]], clock: tuple[str]) -> None:
        """With the clock, and without a sync."""
        try:
            self.connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with self.connection:
                    self.connection.execute("BEGIN IMMEDIATE")
                    self.connection.executemany("UPDATE route_state SET evidence = ? WHERE route = ?", rows)
                    self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", clock)
            finally:
                self.connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot write: {error}") from error

    def clock(self) -> ServedClock:
        """As it was last written; new if no version that knows served time has written yet."""
        try:
            found = self.reader.execute("SELECT value FROM meta WHERE name = 'clock'").fetchone()
            saved = [msgspec.json.decode(found[0], type=SavedClock)] if found else []
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StoreError(f"{self.name}: cannot read the served time: {error}") from error
        last = self.last()
        if last is not None and last.served:
            saved.append(SavedClock(last.served, last.at))
        latest = max(saved, key=lambda clock: clock.served, default=SavedClock(0.0, 0.0))
        return ServedClock(latest.served, latest.wall)

    def records(self) -> dict[str, tuple[RouteRecord, EvidenceBy]]:
        try:
            rows = self.reader.execute("SELECT * FROM route_state").fetchall()
            return {row[0]: (record_of(row), evidence_of(row)) for row in rows}
        except (sqlite3.Error, msgspec.DecodeError, ValueError) as error:
            raise StoreError(f"{self.name}: cannot read the routes' state: {error}") from error

    def decisions(self, route: str | None, after: int, limit: int) -> list[Decision]:
        """In order of id, those above `after`."""
        where, values = ("", ()) if route is None else ("route = ? AND ", (route,))
        return self.select(f"WHERE {where}id > ? ORDER BY id LIMIT ?", (*values, after, limit))

    def newest(self, route: str | None, limit: int) -> list[Decision]:
        """In order of id, the last ones."""
        where, values = ("", ()) if route is None else ("WHERE route = ? ", (route,))
        return self.select(f"{where}ORDER BY id DESC LIMIT ?", (*values, limit))[::-1]

    def last(self, route: str | None = None, challenger: str | None = None) -> Decision | None:
        """The latest decision. With `route`, on that route; with `challenger`, not of another challenger's rollout."""
        where, values = ("", ()) if route is None else ("WHERE route = ? ", (route,))
        if challenger is not None:
            where += "AND coalesce(json_extract(record, '$.to.challenger'), ?) = ? "
            values = (*values, challenger, challenger)
        found = self.select(f"{where}ORDER BY id DESC LIMIT 1", values)
        return found[0] if found else None

    def head(self) -> tuple[int, str]:
        """Id and hash of the last decision."""
        last = self.last()
        return (last.id, last.hash) if last else (0, GENESIS)

    def rows(self, after: int, limit: int) -> list[Row]:
        """The records above `after` in order of id, as they are stored."""
        clause = "SELECT id, record FROM decisions WHERE id > ? ORDER BY id LIMIT ?"
        try:
            return [Row(*row) for row in self.reader.execute(clause, (after, limit))]
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot read the journal: {error}") from error

    def select(self, clause: str, values: tuple[object, ...]) -> list[Decision]:
        try:
            rows = self.reader.execute(f"SELECT record FROM decisions {clause}", values).fetchall()
            return [msgspec.json.decode(row[0], type=Decision) for row in rows]
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StoreError(f"{self.name}: cannot read the journal: {error}") from error


def path_of(state: str) -> str | None:
    """The database's path in the configuration's `state`; None in memory. Raises StoreError for other stores."""
    kind, _, path = state.partition(":")
    if kind != "sqlite" or not path:
        raise StoreError(f"state: this version keeps its state in sqlite:PATH only, not in {state}")
    return None if path == IN_MEMORY else path


def connect(path: str) -> sqlite3.Connection:
    """Open or create; the file of another program is not changed."""
    connection = None
    try:
        connection = open_database(path)
        prepare(connection, path)
    except (sqlite3.Error, FormatError, StoreError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"{path}: cannot be used as the state: {error}") from error
        raise error if isinstance(error, StoreError) else StoreError(f"{path}: {error}") from error
    return connection


def open_database(path: str) -> sqlite3.Connection:
    """Opened in the main thread, then used in the store's threads."""
    if path != IN_MEMORY:
        make_private(path)
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)


def make_private(path: str) -> None:
    """Make the file if there is none. It and those that SQLite keeps beside it are for their owner only.

    SQLite gives a new file beside the database the mode of the database.
    """
    with suppress(OSError):  # SQLite names the fault
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):  # of another owner, or not there
            os.chmod(name, PRIVATE)


def reader_of(path: str) -> sqlite3.Connection:
    connection = open_database(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables, or bring them to the current format. The caller holds the lock on the state."""
    written = migrations.format_of(connection)
    (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise StoreError(f"{path}: is corrupt: {sound}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if written is None:
        migrations.create(connection)
    elif written < migrations.FORMAT:
        copy = keep_copy(connection, f"{path}.format-{written}")
        upgrade(connection, path, written)
        log.warning(
            "%s: upgraded from format %d to %d; the file before is %s", path, written, migrations.FORMAT, copy
        )
    else:
        with suppress(sqlite3.Error):  # only for an error message: a full disk must not stop a start
            migrations.name_version(connection)


def keep_copy(connection: sqlite3.Connection, path: str) -> str:
    """Copy the whole file before an upgrade, for a downgrade. The copy replaces that of an earlier upgrade."""
    unfinished = f"{path}.new"
    try:
        Path(unfinished).unlink(missing_ok=True)
        make_private(unfinished)
        with closing(sqlite3.connect(unfinished)) as copy:
            connection.backup(copy)
        os.replace(unfinished, path)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            os.unlink(unfinished)
        raise StoreError(f"{path}: cannot keep a copy of the state before its upgrade: {error}") from error
    return path


def upgrade(connection: sqlite3.Connection, path: str, written: int) -> None:
    try:
        migrations.migrate(connection)
    except (sqlite3.Error, msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
        said = (
            f"the upgrade from format {written} to {migrations.FORMAT} failed, nothing is changed: {error!r}"
        )
        raise StoreError(f"{path}: {said}") from error


def upgraded_copy(connection: sqlite3.Connection, path: str, written: int) -> sqlite3.Connection:
    """A temporary database in the current format, for reading; the file stays as it is."""
    copy = sqlite3.connect("", isolation_level=None)
    try:
        with closing(connection):
            connection.backup(copy)
        upgrade(copy, path, written)
    except BaseException:
        copy.close()
        raise
    return copy


class SavedClock(msgspec.Struct):
    """The clock of served time in `meta`. A decision has the same two times, so a commit does not write it."""

    served: float
    wall: float


class HomeNames(msgspec.Struct):
    """A home ledger without its slots."""

    backends: tuple[str, ...]
    version: int


def row_of(record: RouteRecord, evidence: EvidenceBy) -> tuple[object, ...]:
    home = record.home
    return (
        record.name,
        record.ledger.version,
        text(record.ledger.backends),
        record.ledger.slots,
        text(HomeNames(home.backends, home.version)) if home else None,
        home.slots if home else None,
        text(record.applied),
        text(record.rollouts),
        text(record.latched),
        record.left_at,
        msgspec.msgpack.encode(evidence),
    )


def record_of(row: tuple[object, ...]) -> RouteRecord:
    name, version, backends, slots, home, home_slots, applied, rollouts, latched, left_at, _ = row
    names = msgspec.json.decode(home, type=HomeNames) if isinstance(home, str) else None
    return RouteRecord(
        name=str(name),
        ledger=ledger_of(msgspec.json.decode(str(backends), type=tuple[str, ...]), slots, version),
        applied=msgspec.json.decode(str(applied), type=Applied),
        home=ledger_of(names.backends, home_slots, names.version) if names else None,
        rollouts=msgspec.json.decode(str(rollouts), type=dict[str, RolloutState]),
        latched=msgspec.json.decode(str(latched), type=dict[str, str]),
        left_at=left_at if isinstance(left_at, float) else None,
    )


def ledger_of(backends: tuple[str, ...], slots: object, version: object) -> Ledger:
    if not isinstance(slots, bytes) or not isinstance(version, int) or len(slots) != BUCKETS:
        raise ValueError("a ledger is damaged")
    if max(slots) >= len(backends):
        raise ValueError("a ledger names a backend that it does not list")
    return Ledger(backends, slots, version)


def evidence_of(row: tuple[object, ...]) -> EvidenceBy:
    held = row[-1]
    return msgspec.msgpack.decode(held, type=EvidenceBy) if isinstance(held, bytes) else {}


def text(value: object) -> str:
    return msgspec.json.encode(value).decode()
