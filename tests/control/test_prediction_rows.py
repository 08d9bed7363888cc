"""Rows in a prediction log, whatever the order in which exchanges and outputs come."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from crossfade.control import feedback_tables, prediction_rows, prediction_tables
from crossfade.control.feedback_tables import ids_in, store
from crossfade.control.prediction_rows import add_ledger, add_rows
from crossfade.control.prediction_tables import PART_BITS, id_hash, newest_of, parts, unsigned
from crossfade.quality.feedback import Feedback, Limits
from crossfade.quality.logged import LoggedExchange, LoggedOutput

LARGE = (1 << 64) - 5
ONE = LoggedExchange(b"one", 99.5, "v2", "champion", 3, LARGE, 200, 0.25, "v2")
TWO = LoggedExchange(
    b"two", 99.75, "v3", "challenger", 3, None, 200, 0.5, "v2", True
)  # the fallback answered
GONE = LoggedExchange(b"gone", 99.9, "v3", "challenger", 3, 7, 0, 1.5)


@pytest.fixture
def log() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    prediction_tables.prepare(connection, 100.0)
    yield connection
    connection.close()


def rows(log: sqlite3.Connection, columns: str) -> list[tuple[Any, ...]]:
    return log.execute(
        f"SELECT {columns} FROM prediction JOIN backend b ON b.id = backend "
        "LEFT JOIN backend a ON a.id = answered ORDER BY seq"
    ).fetchall()


def test_each_fact_of_an_exchange_is_in_its_row(log: sqlite3.Connection) -> None:
    assert add_rows(log, [ONE, TWO, GONE], [], 100.0) == (3, 0)
    columns = "request_id, b.name, a.name, role, ledger_version, at, logged_at, status, seconds, blamed, score, label, segment"
    assert rows(log, columns) == [
        (b"one", "v2", "v2", "champion", 3, 99.5, 100.0, 200, 0.25, 0, None, None, None),
        (b"two", "v3", "v2", "challenger", 3, 99.75, 100.0, 200, 0.5, 1, None, None, None),
        (b"gone", "v3", None, "challenger", 3, 99.9, 100.0, 0, 1.5, 0, None, None, None),
    ]
    keys = [key if key is None else unsigned(key) for (key,) in rows(log, "key")]
    assert keys == [LARGE, None, 7]
    assert rows(log, "id_hash") == [(id_hash(each),) for each in (b"one", b"two", b"gone")]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in a later batch"])
def test_outputs_come_to_the_row_of_the_backend_that_answered(
    log: sqlite3.Connection, together: bool
) -> None:
    outputs = [
        LoggedOutput(b"one", "v2", 0.75, "high", ("DE", "gold")),
        LoggedOutput(b"two", "v2", 0.5, 3),
        LoggedOutput(b"two", "v3", 0.125, True, copy=True),
    ]
    if together:
        assert add_rows(log, [ONE, TWO], outputs, 100.0) == (2, 0)
    else:
        assert add_rows(log, [ONE, TWO], [], 100.0) == (2, 0)
        assert add_rows(log, [], outputs, 100.5) == (0, 0)
    assert rows(log, "score, label, segment") == [(0.75, "high", '["DE","gold"]'), (0.5, 3, None)]
    found = log.execute(
        "SELECT request_id, name, c.score, c.label FROM copy c JOIN prediction USING (seq) JOIN backend b ON b.id = c.backend"
    )
    assert found.fetchall() == [(b"two", "v3", 0.125, 1)]


def test_an_output_of_another_backend_or_of_no_row_is_counted(log: sqlite3.Connection) -> None:
    outputs = [
        LoggedOutput(b"one", "v3", 0.75, None),
        LoggedOutput(b"nobody", "v2", 0.75, None),
        LoggedOutput(b"nobody", "v3", 0.75, None, copy=True),
    ]
    assert add_rows(log, [ONE], outputs, 100.0) == (1, 3)
    assert rows(log, "score") == [(None,)]


def test_of_requests_with_one_id_the_latest_that_this_backend_answered_has_the_output(
    log: sqlite3.Connection,
) -> None:
    assert add_rows(log, [ONE, ONE], [LoggedOutput(b"one", "v2", 0.5, None)], 100.0) == (2, 0)
    assert rows(log, "score") == [(None,), (0.5,)]


@pytest.mark.parametrize("together", [True, False])
def test_the_body_of_a_request_is_beside_its_row(log: sqlite3.Connection, together: bool) -> None:
    outputs = [
        LoggedOutput(b"two", "v2", 0.5, None, body=b"{}"),
        LoggedOutput(b"nobody", "v2", 0.5, None, body=b"x"),
    ]
    add_rows(log, [ONE, TWO], outputs if together else [], 100.0)
    add_rows(log, [], [] if together else outputs, 100.0)
    found = log.execute("SELECT request_id, body FROM input JOIN prediction USING (seq)").fetchall()
    assert found == [(b"two", b"{}")]


def test_the_time_of_writing_never_falls(log: sqlite3.Connection) -> None:
    for now in (100.0, 50.0, 101.0):
        add_rows(log, [ONE], [], now)
    assert rows(log, "logged_at") == [(100.0,), (100.0,), (101.0,)]


def test_weights_are_kept_by_ledger_version(log: sqlite3.Connection) -> None:
    add_ledger(log, {1: {"v2": 10_000}, 2: {"v2": 9_500, "v3": 500}})
    add_ledger(log, {2: {"v2": 1}})
    found = log.execute("SELECT version, weights FROM ledger ORDER BY version").fetchall()
    assert found == [(1, '{"v2":10000}'), (2, '{"v2":9500,"v3":500}')]


def test_rows_are_found_in_whichever_part_of_the_index_they_are(log: sqlite3.Connection) -> None:
    end = (7 << PART_BITS) - 1  # the last number of a part
    log.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'prediction'", (end - 1,))
    add_rows(log, [ONE, TWO], [], 100.0)
    assert rows(log, "seq") == [(end,), (end + 1,)]
    assert list(parts(log)) == [7, 6]
    assert (list(parts(log, end)), list(parts(log, 0))) == ([6], [])
    outputs = [LoggedOutput(b"one", "v2", 0.25, None), LoggedOutput(b"two", "v2", 0.5, None)]
    assert add_rows(log, [], outputs, 100.0) == (0, 0)
    assert rows(log, "score") == [(0.25,), (0.5,)]
    found = [Feedback(b"one", "label", 1), Feedback(b"two", "label", 1), Feedback(b"three", "label", 1)]
    stored = store(log, found, 101.0, Limits(100.0, 100.0), b"", False)
    assert [each.outcome for each in stored] == ["accepted", "accepted", "unmatched"]
    assert ids_in(log, [b"one", b"two", b"three"]) == {b"one", b"two"}


def test_an_output_that_comes_after_many_other_rows_is_counted(log: sqlite3.Connection) -> None:
    add_rows(log, [ONE], [], 100.0)
    for part in (1, 2):
        log.execute(
            "UPDATE sqlite_sequence SET seq = (seq / ?1 + 1) * ?1 WHERE name = 'prediction'",
            (1 << PART_BITS,),
        )
        add_rows(log, [TWO], [], 100.0 + part)
    assert add_rows(log, [], [LoggedOutput(b"one", "v2", 0.25, None)], 103.0) == (0, 1)


def test_an_empty_log_has_no_parts(log: sqlite3.Connection) -> None:
    assert list(parts(log)) == list(parts(log, 5)) == []


def test_an_id_whose_hash_another_has_is_found_all_the_same(
    log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (prediction_rows, feedback_tables):
        monkeypatch.setattr(module, "id_hash", lambda request_id: 5)
    add_rows(log, [ONE, TWO], [], 100.0)
    assert newest_of(log, [5, 6]) == {5: log.execute("SELECT max(seq) FROM prediction").fetchone()[0]}
    found = [Feedback(b"one", "label", 1), Feedback(b"two", "label", 2), Feedback(b"three", "label", 3)]
    stored = store(log, found, 101.0, Limits(100.0, 100.0), b"", False)
    assert [each.outcome for each in stored] == ["accepted", "accepted", "unmatched"]
    values = log.execute("SELECT request_id, f.value FROM feedback f JOIN prediction USING (seq)").fetchall()
    assert values == [(b"one", 1), (b"two", 2)]
    assert ids_in(log, [b"one", b"two", b"three"]) == {b"one", b"two"}
