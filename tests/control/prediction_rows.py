"""Predictions in a log, for tests of what is joined to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from crossfade.control.prediction_tables import id_hash, prepare, signed
from crossfade.routing.ledger import hash_of, salt_of


class Predicted(NamedTuple):
    """One exchange on the route churn, that was logged as soon as it ended."""

    request_id: str
    at: float = 0.0
    key: str = ""


def add_predictions(connection: sqlite3.Connection, rows: Sequence[Predicted]) -> None:
    connection.execute("INSERT OR IGNORE INTO backend (id, name) VALUES (1, 'v2')")
    for row in rows:
        key = signed(hash_of(row.key.encode(), salt_of("churn"))) if row.key else None
        given = row.request_id.encode()
        connection.execute(
            "INSERT INTO prediction (id_hash, request_id, backend, answered, role, ledger_version, key, at, logged_at, "
            "status, seconds, blamed) VALUES (?, ?, 1, 1, 'champion', 1, ?, ?, ?, 200, 0.1, 0)",
            (id_hash(given), given, key, row.at, row.at),
        )


class _Closing(sqlite3.Connection):
    """It closes where nobody holds it any more: CPython 3.13 warns of others."""

    def __del__(self) -> None:
        self.close()


def log_of(*rows: Predicted) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=_Closing)
    prepare(connection, 0.0)
    add_predictions(connection, rows)
    return connection


def values_of(connection: sqlite3.Connection) -> dict[tuple[str, str], object]:
    """By the request's id and the name."""
    query = "SELECT p.request_id, f.name, f.value FROM feedback f JOIN prediction p USING (seq) ORDER BY seq"
    return {(request_id.decode(), name): value for request_id, name, value in connection.execute(query)}
