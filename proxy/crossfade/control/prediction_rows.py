"""Writes rows into a prediction log: functions on its connection, in the writing thread, each within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from crossfade.control.prediction_tables import PART_BITS, id_hash, parts, signed
from crossfade.quality.logged import LoggedExchange, LoggedOutput

LATE_PARTS = 2  # of the index, in which the row of a late output is looked for: it came seconds ago

_INSERT = """
INSERT INTO prediction (seq, id_hash, request_id, backend, answered, role, ledger_version, key, at, logged_at, status, seconds,
  blamed, score, label, segment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_AMEND = "UPDATE prediction SET score = ?, label = ?, segment = ? WHERE seq = ?"
_FIND = f"""
SELECT max(seq) FROM prediction WHERE seq >> {PART_BITS} = ? AND id_hash = ? AND request_id = ?
  AND (?4 IS NULL OR answered = ?4)
"""


class Written(NamedTuple):
    """`unmatched`: outputs whose exchange is not in the log."""

    rows: int
    unmatched: int


def add_rows(
    connection: sqlite3.Connection,
    exchanges: Sequence[LoggedExchange],
    outputs: Iterable[LoggedOutput],
    now: float,
) -> Written:
    """`now`: wall time. `outputs` are of these exchanges, or of ones that are in the log already.

    Of several requests with one id the latest gets the output.
    """
    writing = _Writing(connection, exchanges)
    for output in outputs:
        writing.add(output)
    writing.finish(now)
    return Written(len(exchanges), writing.unmatched)


def add_ledger(connection: sqlite3.Connection, weights: Mapping[int, Mapping[str, int]]) -> None:
    """`weights`: by ledger version, of 10 000."""
    connection.executemany(
        "INSERT OR IGNORE INTO ledger (version, weights) VALUES (?, ?)",
        [(version, msgspec.json.encode(each).decode()) for version, each in weights.items()],
    )


class _Writing:
    """The rows of one transaction: `add` each output, then `finish`."""

    def __init__(self, connection: sqlite3.Connection, exchanges: Sequence[LoggedExchange]) -> None:
        self.connection = connection
        self.exchanges = exchanges
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'prediction'").fetchone()
        self.first = last + 1
        self.by_request = {each.request_id: seq for seq, each in enumerate(exchanges, self.first)}
        self.by_answer = {
            (each.request_id, each.answered_by): seq for seq, each in enumerate(exchanges, self.first)
        }
        self.parts = parts(connection)[:LATE_PARTS]
        self.ids: dict[str, int] = {
            name: number for number, name in connection.execute("SELECT id, name FROM backend")
        }
        self.said: dict[int, LoggedOutput] = {}  # by seq
        self.late: dict[int, LoggedOutput] = {}  # of rows that are in the log
        self.copies: list[tuple[object, ...]] = []
        self.inputs: list[tuple[int, bytes]] = []
        self.unmatched = 0

    def add(self, output: LoggedOutput) -> None:
        if output.copy:
            seq = self.by_request.get(output.request_id) or self.find(output, None)
            if seq is not None:
                self.copies.append((seq, self.backend(output.backend), output.score, output.label))
        elif (seq := self.by_answer.get((output.request_id, output.backend))) is not None:
            self.said[seq] = output
        elif (seq := self.find(output, self.backend(output.backend))) is not None:
            self.late[seq] = output
        if seq is None:
            self.unmatched += 1
        elif output.body is not None:
            self.inputs.append((seq, output.body))

    def find(self, output: LoggedOutput, answered: int | None) -> int | None:
        """The row of its request in the log; `answered`: by this backend."""
        hashed = id_hash(output.request_id)
        for part in self.parts:
            values = (part, hashed, output.request_id, answered)
            (seq,) = self.connection.execute(_FIND, values).fetchone()
            if seq is not None:
                return int(seq)
        return None

    def backend(self, name: str) -> int:
        if name not in self.ids:
            made = self.connection.execute("INSERT INTO backend (name) VALUES (?)", (name,))
            assert made.lastrowid is not None
            self.ids[name] = made.lastrowid
        return self.ids[name]

    def finish(self, now: float) -> None:
        logged_at = _not_before_the_last(self.connection, now)
        rows = [self.row(seq, each, logged_at) for seq, each in enumerate(self.exchanges, self.first)]
        self.connection.executemany(_INSERT, rows)
        late = [(o.score, o.label, _segment(o), seq) for seq, o in self.late.items()]
        self.connection.executemany(_AMEND, late)
        self.connection.executemany(
            "INSERT OR REPLACE INTO copy (seq, backend, score, label) VALUES (?, ?, ?, ?)", self.copies
        )
        self.connection.executemany("INSERT OR REPLACE INTO input (seq, body) VALUES (?, ?)", self.inputs)

    def row(self, seq: int, each: LoggedExchange, logged_at: float) -> tuple[object, ...]:
        output = self.said.get(seq)
        return (
            seq,
            id_hash(each.request_id),
            each.request_id,
            self.backend(each.backend),
            self.backend(each.answered_by) if each.answered_by else None,
            each.role,
            each.ledger_version,
            None if each.key is None else signed(each.key),
            each.at,
            logged_at,
            each.status,
            each.seconds,
            each.blamed,
            None if output is None else output.score,
            None if output is None else output.label,
            None if output is None else _segment(output),
        )


def _segment(output: LoggedOutput) -> str | None:
    """A JSON list in the order of `prediction.segment`; None without segments."""
    return msgspec.json.encode(output.segment).decode() if output.segment else None


def _not_before_the_last(connection: sqlite3.Connection, now: float) -> float:
    found = connection.execute("SELECT logged_at FROM prediction ORDER BY seq DESC LIMIT 1").fetchone()
    return now if found is None else max(now, found[0])
