"""Writes rows into a prediction log: functions on its connection, in the writing thread, each within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from crossfade.control.prediction_tables import id_hash, signed
from crossfade.quality.logged import LoggedExchange, LoggedOutput

_INSERT = """
INSERT INTO prediction (id_hash, request_id, backend, answered, role, ledger_version, key, at, logged_at, status, seconds,
  blamed, score, label, segment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SEQ_OF_ANSWER = "SELECT max(seq) FROM prediction WHERE id_hash = ? AND request_id = ? AND answered = ?"
_SEQ_OF_REQUEST = "SELECT max(seq) FROM prediction WHERE id_hash = ? AND request_id = ?"


class Written(NamedTuple):
    """`unmatched`: outputs whose exchange is not in the log."""

    rows: int
    unmatched: int


def add_rows(
    connection: sqlite3.Connection,
    exchanges: Sequence[LoggedExchange],
    outputs: Sequence[LoggedOutput],
    now: float,
) -> Written:
    """`now`: wall time. `outputs` are of these exchanges, or of ones that are in the log already.

    Of several requests with one id the latest gets the output.
    """
    ids = _backend_ids(connection, exchanges, outputs)
    logged_at = _not_before_the_last(connection, now)
    said = {(o.request_id, o.backend): o for o in outputs if not o.copy}
    rows = []
    for each in reversed(exchanges):
        output = said.pop((each.request_id, each.answered_by), None)
        rows.append(_row(each, output, ids, logged_at))
    rows.reverse()
    connection.executemany(_INSERT, rows)
    late = [
        output
        for output in outputs
        if not output.copy and output is said.get((output.request_id, output.backend))
    ]
    unmatched = sum(not _amend(connection, output, ids[output.backend]) for output in late)
    unmatched += sum(
        not _add_copy(connection, output, ids[output.backend]) for output in outputs if output.copy
    )
    connection.executemany(
        "INSERT OR REPLACE INTO input (seq, body) SELECT max(seq), ?3 FROM prediction "
        "WHERE id_hash = ?1 AND request_id = ?2 HAVING max(seq) IS NOT NULL",
        [(id_hash(o.request_id), o.request_id, o.body) for o in outputs if o.body is not None],
    )
    return Written(len(rows), unmatched)


def add_ledger(connection: sqlite3.Connection, weights: Mapping[int, Mapping[str, int]]) -> None:
    """`weights`: by ledger version, of 10 000."""
    connection.executemany(
        "INSERT OR IGNORE INTO ledger (version, weights) VALUES (?, ?)",
        [(version, msgspec.json.encode(each).decode()) for version, each in weights.items()],
    )


def _row(
    each: LoggedExchange, output: LoggedOutput | None, ids: Mapping[str, int], logged_at: float
) -> tuple[object, ...]:
    return (
        id_hash(each.request_id),
        each.request_id,
        ids[each.backend],
        ids[each.answered_by] if each.answered_by else None,
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


def _backend_ids(
    connection: sqlite3.Connection, exchanges: Iterable[LoggedExchange], outputs: Iterable[LoggedOutput]
) -> dict[str, int]:
    names = {each.backend for each in exchanges} | {each.answered_by for each in exchanges}
    names |= {output.backend for output in outputs}
    connection.executemany(
        "INSERT OR IGNORE INTO backend (name) VALUES (?)", [(name,) for name in sorted(names) if name]
    )
    return {name: number for number, name in connection.execute("SELECT id, name FROM backend")}


def _not_before_the_last(connection: sqlite3.Connection, now: float) -> float:
    found = connection.execute("SELECT logged_at FROM prediction ORDER BY seq DESC LIMIT 1").fetchone()
    return now if found is None else max(now, found[0])


def _amend(connection: sqlite3.Connection, output: LoggedOutput, backend: int) -> bool:
    hashed = id_hash(output.request_id)
    (seq,) = connection.execute(_SEQ_OF_ANSWER, (hashed, output.request_id, backend)).fetchone()
    if seq is None:
        return False
    connection.execute(
        "UPDATE prediction SET score = ?, label = ?, segment = ? WHERE seq = ?",
        (output.score, output.label, _segment(output), seq),
    )
    return True


def _add_copy(connection: sqlite3.Connection, output: LoggedOutput, backend: int) -> bool:
    hashed = id_hash(output.request_id)
    (seq,) = connection.execute(_SEQ_OF_REQUEST, (hashed, output.request_id)).fetchone()
    if seq is None:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO copy (seq, backend, score, label) VALUES (?, ?, ?, ?)",
        (seq, backend, output.score, output.label),
    )
    return True
