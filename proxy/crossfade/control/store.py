"""The durable state in SQLite: the decisions in order, and the record and evidence of each route.

Rule: a decision and the state it leads to are written in one transaction and synced to disk before
`commit` returns. Evidence is saved without a sync: losing its last second is only a second of counts.
The caller holds the lock on the state (`workers/state_lock`). Redis is refused until there are replicas.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any, NamedTuple, NoReturn

import msgspec

from crossfade.control import kept_configs, kept_messages, pruning
from crossfade.control.chain import GENESIS, Anchor, Row, text_of
from crossfade.control.database import (
    IN_MEMORY,
    StoreError,
    StoreLostError,
    connect,
    connect_to_read,
    path_of,
    reader_of,
)
from crossfade.control.disk_thread import DiskThread
from crossfade.control.kept_configs import KeptConfig
from crossfade.control.kept_messages import KeptMessages, MessageRows
from crossfade.control.pages import Page, read_page
from crossfade.control.pruning import STANDING
from crossfade.control.route_record import EvidenceBy, RouteRecord, evidence_of, record_of, row_of, text
from crossfade.control.served_clock import ServedClock
from crossfade.control.state_files import LostError, StateFiles
from crossfade.control.views import Decision
from crossfade.rollout.retraining import Retraining

log = logging.getLogger("crossfade.store")

Endpoints = frozenset[tuple[str, str]]  # (backend, endpoint)


class Batch(NamedTuple):
    """The rows of one transaction, encoded. `head`: id and hash of the decision that must be the last before it; `drained`, `retrainings`: None if that stays."""

    decisions: list[tuple[object, ...]]
    states: list[tuple[object, ...]]
    removed: list[tuple[str]]
    head: tuple[int, str] | None
    drained: tuple[str] | None = None
    retrainings: str | None = None


def batch_of(
    decisions: Iterable[Decision],
    records: Iterable[tuple[RouteRecord, EvidenceBy]],
    removed: Iterable[str] = (),
    head: tuple[int, str] | None = None,
    drained: Endpoints | None = None,
) -> Batch:
    return Batch(
        [(d.id, d.at, d.route, d.hash, text_of(d)) for d in decisions],
        [row_of(record, evidence) for record, evidence in records],
        [(name,) for name in removed],
        head,
        None if drained is None else (text(sorted(drained)),),
    )


def clock_row(clock: ServedClock) -> tuple[str]:
    return (text(SavedClock(clock.served, clock.wall)),)


def evidence_rows(evidence: Mapping[str, EvidenceBy]) -> list[tuple[bytes, str]]:
    """By route."""
    return [(msgspec.msgpack.encode(e), route) for route, e in evidence.items()]


def _kept_secret(store: Store) -> str:
    """Made when a state is first used. If it cannot be written, the next start makes another, and visitors are assigned anew."""
    try:
        clause = "SELECT value FROM meta WHERE name = 'cookie_secret'"
        found = store.connection.execute(clause).fetchone()
        if found:
            return str(found[0])
        made = token_hex(32)
        store.connection.execute("INSERT INTO meta VALUES ('cookie_secret', ?)", (made,))
    except sqlite3.Error as error:
        log.error("%s: the secret of assigned cookies is not kept: %s", store.name, error)
        return token_hex(32)
    return made


class Store:
    """Use `Store.open`. Every method raises StoreError.

    Once a loop runs, call `commit` and `save_evidence` in `write_thread`, and what reads in `read_thread`: a
    connection belongs in one thread at a time.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        reader: sqlite3.Connection,
        name: str,
        files: StateFiles | None = None,
    ) -> None:
        """`reader`: a second connection, so that a read does not wait for a write; in memory there is only one."""
        self.connection = connection
        self.reader = reader
        self.name = name
        self.files = files
        self.cookie_secret = ""  # signs the cookies of `sticky: assign` where the configuration has no secret
        self.lost = ""  # why nothing is written any more
        self.closed = False
        self.write_thread = DiskThread("crossfade-store")
        self.read_thread = self.write_thread if name == IN_MEMORY else DiskThread("crossfade-read")

    @classmethod
    def open(cls, state: str) -> Store:
        """`sqlite:PATH` or `sqlite::memory:`, as in the configuration's `state`."""
        path = path_of(state) or IN_MEMORY
        connection = connect(path)
        if path == IN_MEMORY:
            store = cls(connection, connection, path)
        else:
            reader = reader_of(path)
            try:
                store = cls(connection, reader, path, StateFiles(path))
            except (LostError, OSError) as error:
                reader.close()
                connection.close()
                raise StoreError(f"{path}: cannot be used as the state: {error}") from error
        store.cookie_secret = _kept_secret(store)
        return store

    @classmethod
    def read(cls, path: str) -> Store:
        """For reading only and without the lock, so also while a proxy runs. The file is never changed."""
        connection = connect_to_read(path)
        return cls(connection, connection, path)

    def close(self) -> bool:
        """False if the disk hangs: then the connections stay, as closing one during a write crashes the process."""
        if self.closed:
            return True
        if not (self.write_thread.end() and self.read_thread.end()):
            log.error("%s: the disk does not answer; a write or a read is left behind", self.name)
            return False
        self.closed = True
        self.reader.close()
        self.connection.close()
        if self.files is not None:
            self.files.close()
        return True

    def commit(self, batch: Batch) -> None:
        """In one transaction, on disk when this returns."""
        self.look()
        with self._atomic_write():
            self._require_head(batch.head)
            self.connection.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", batch.decisions)
            self.connection.executemany(
                "INSERT OR REPLACE INTO route_state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                batch.states,
            )
            self.connection.executemany("DELETE FROM route_state WHERE route = ?", batch.removed)
            if batch.drained is not None:
                self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('drained', ?)", batch.drained)
            if batch.retrainings is not None:
                self._keep_retrainings(batch.retrainings)
        self.look()

    @contextmanager
    def _atomic_write(self) -> Iterator[None]:
        try:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot write: {error}") from error

    def _require_head(self, head: tuple[int, str] | None) -> None:
        """The journal must end where this process left it."""
        clause = "SELECT id, hash FROM decisions ORDER BY id DESC LIMIT 1"
        found = self.connection.execute(clause).fetchone() or (0, GENESIS)
        if head is not None and found != head:
            self._lose(f"{self.name} was changed: its journal ends at decision {found[0]}, not at {head[0]}")

    def look(self) -> None:
        """Raises StoreLostError once the files were deleted, replaced or cut."""
        if self.lost:
            raise StoreLostError(self.lost)
        if self.files is not None:
            try:
                self.files.look()
            except LostError as error:
                self._lose(str(error))
            except OSError as error:
                raise StoreError(f"{self.name}: cannot be looked at: {error.strerror}") from error

    def _lose(self, what: str) -> NoReturn:
        self.lost = f"{what} while the proxy ran; restart it"
        raise StoreLostError(self.lost)

    def save_evidence(self, rows: Sequence[tuple[bytes, str]], clock: tuple[str]) -> None:
        """With the clock, and without a sync."""
        self.look()
        with self._unsynced_write():
            self.connection.executemany("UPDATE route_state SET evidence = ? WHERE route = ?", rows)
            self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", clock)

    @contextmanager
    def _unsynced_write(self) -> Iterator[None]:
        """Only a crash of the machine can take the last ones."""
        try:
            self.connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._atomic_write():
                    yield
            finally:
                self.connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot write: {error}") from error

    def save_messages(self, rows: MessageRows) -> None:
        """Without a sync: the journal has what the last ones are about."""
        self.look()
        with self._unsynced_write():
            kept_messages.write(self.connection, rows)

    def messages(self) -> KeptMessages:
        """Those that wait to be told, and the decisions that no message was made of yet."""
        try:
            messages, told = kept_messages.read(self.reader)
        except (sqlite3.Error, msgspec.DecodeError, ValueError) as error:
            raise StoreError(f"{self.name}: cannot read the messages: {error}") from error
        untold = [] if told is None else self.decisions(None, told, kept_messages.MAX_UNTOLD)
        return KeptMessages(messages, told, untold)

    def save_config(self, kept: KeptConfig) -> None:
        self.look()
        with self._atomic_write():
            kept_configs.write(self.connection, kept)

    def configs(self) -> list[KeptConfig]:
        """That were in force, the oldest first."""
        try:
            return kept_configs.read(self.reader)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StoreError(f"{self.name}: cannot read the configurations: {error}") from error

    def save_comparisons(self, comparisons: bytes) -> None:
        """Without a sync."""
        self.look()
        with self._atomic_write():
            self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('comparisons', ?)", (comparisons,))

    def save_retrainings(self, retrainings: str) -> None:
        """Without a sync: only when schedules began."""
        self.look()
        with self._atomic_write():
            self._keep_retrainings(retrainings)

    def _keep_retrainings(self, retrainings: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('retrainings', ?)", (retrainings,))

    def retrainings(self) -> dict[str, Retraining]:
        """Orders to train models again, by route."""
        try:
            found = self.reader.execute("SELECT value FROM meta WHERE name = 'retrainings'").fetchone()
            return msgspec.json.decode(found[0], type=dict[str, Retraining]) if found else {}
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StoreError(f"{self.name}: cannot read the orders to train models: {error}") from error

    def comparisons(self) -> bytes | None:
        try:
            found = self.reader.execute("SELECT value FROM meta WHERE name = 'comparisons'").fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot read the comparisons: {error}") from error
        return bytes(found[0]) if found else None

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

    def prune(self, before: float) -> None:
        """Delete a few of the decisions made before this wall time."""
        self.look()
        with self._atomic_write():
            states = self.connection.execute("SELECT route, rollouts FROM route_state").fetchall()
            rollouts = [
                (route, name)
                for route, held in states
                for name in ("", *msgspec.json.decode(held, type=dict[str, Any]))
            ]
            pruning.prune(self.connection, before, rollouts)

    def drained(self) -> Endpoints:
        try:
            found = self.reader.execute("SELECT value FROM meta WHERE name = 'drained'").fetchone()
            return msgspec.json.decode(found[0], type=Endpoints) if found else Endpoints()
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StoreError(f"{self.name}: cannot read the drained endpoints: {error}") from error

    def anchor(self) -> Anchor:
        """Up to which decision the journal was pruned."""
        try:
            return pruning.anchor_of(self.reader)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StoreError(f"{self.name}: cannot read the journal: {error}") from error

    def has(self, draft: Decision) -> bool:
        """Whether it is in the journal, whatever its number there."""
        same = self.select("WHERE route = ? AND at = ?", (draft.route, float(draft.at)))
        return any(
            (d.action, d.actor, d.reason, d.to) == (draft.action, draft.actor, draft.reason, draft.to)
            for d in same
        )

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

    def page(self, route: str | None, after: int | None, limit: int, brief: bool = False) -> Page:
        """As they are stored: the first above `after`, or the last of all."""
        try:
            return read_page(self.reader, route, after, limit, brief)
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: cannot read the journal: {error}") from error

    def last(
        self, route: str | None = None, challenger: str | None = None, action: str | None = None
    ) -> Decision | None:
        """The latest decision. With `route`, on where that route stands; with `challenger`, not of another challenger's rollout."""
        where, values = ("", ()) if route is None else (f"WHERE route = ? AND {STANDING} ", (route,))
        if challenger is not None:
            where += "AND coalesce(json_extract(record, '$.to.challenger'), ?) = ? "
            values = (*values, challenger, challenger)
        if action is not None:
            where, values = f"{where}AND json_extract(record, '$.action') = ? ", (*values, action)
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


class SavedClock(msgspec.Struct):
    """The clock of served time in `meta`. A decision has the same two times, so a commit does not write it."""

    served: float
    wall: float
