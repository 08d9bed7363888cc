"""Rows of a prediction log as lines: which ones, in which order, and what is in them."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from crossfade.control import prediction_tables
from crossfade.control.prediction_export import Asked, Bounds, bounds, page
from crossfade.control.prediction_rows import add_ledger, add_rows
from crossfade.quality.logged import LoggedExchange, LoggedOutput


def exchange(number: int, at: float, **given: Any) -> LoggedExchange:
    fields: dict[str, Any] = {
        "request_id": b"%d" % number,
        "at": at,
        "backend": "v2",
        "role": "champion",
        "ledger_version": 3,
        "key": None,
        "status": 200,
        "seconds": 0.25,
        "answered_by": "v2",
    }
    return LoggedExchange(**fields | given)


@pytest.fixture
def log() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    prediction_tables.prepare(connection, 1000.0)
    yield connection
    connection.close()


def label(log: sqlite3.Connection, number: int, name: str = "label", value: object = 1) -> None:
    log.execute(
        "INSERT INTO feedback (seq, name, value, at, first_at) "
        "SELECT seq, ?, ?, 0, 0 FROM prediction WHERE request_id = ?",
        (name, value, b"%d" % number),
    )


def lines(log: sqlite3.Connection, asked: Asked, most: int = 2) -> list[dict[str, Any]]:
    """Page by page."""
    within, found = bounds(log, asked), []
    after: int | None = within.after
    while after is not None:
        part, after = page(log, asked, Bounds(after, within.last), most)
        found += [json.loads(line) for line in part.splitlines()]
    return found


def numbers(log: sqlite3.Connection, asked: Asked, most: int = 2) -> list[int]:
    return [int(row["request_id"]) for row in lines(log, asked, most)]


@pytest.fixture
def ten(log: sqlite3.Connection) -> sqlite3.Connection:
    """Request n at 1000 + n, written half a second later; 2, 5 and 8 have feedback."""
    for n in range(10):
        add_rows(log, [exchange(n, 1000.0 + n)], [], 1000.5 + n)
    for n in (2, 5, 8):
        label(log, n)
    label(log, 5, "paid", 12.5)
    return log


@pytest.mark.parametrize("most", [1, 2, 3, 10, 100])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(), range(10)),
        (Asked(since=1003.0), range(3, 10)),
        (Asked(since=1003.25, until=1006.0), [4, 5]),
        (Asked(until=1000.0), []),
        (Asked(since=5000.0), []),
        (Asked(labelled=True), [2, 5, 8]),
        (Asked(labelled=False), [0, 1, 3, 4, 6, 7, 9]),
        (Asked(limit=3), [7, 8, 9]),
        (Asked(limit=30), range(10)),
        (Asked(labelled=True, limit=2), [5, 8]),
        (Asked(labelled=True, since=1003.0, until=1008.0, limit=2), [5]),
        (Asked(labelled=True, since=1009.0, limit=2), []),
    ],
)
def test_the_rows_that_are_asked_for_come_in_order(
    ten: sqlite3.Connection, asked: Asked, expected: Any, most: int
) -> None:
    assert numbers(ten, asked, most) == list(expected)


def test_an_empty_log_has_no_rows(log: sqlite3.Connection) -> None:
    assert numbers(log, Asked()) == numbers(log, Asked(limit=3)) == []


def test_rows_that_are_written_later_are_not_of_this_answer(ten: sqlite3.Connection) -> None:
    within = bounds(ten, Asked())
    add_rows(ten, [exchange(10, 1011.0)], [], 1011.0)
    assert len(page(ten, Asked(), within, 100).lines.splitlines()) == 10


def test_a_line_has_each_fact(log: sqlite3.Connection) -> None:
    add_ledger(log, {3: {"v2": 9_500, "v3": 500}})
    fallback = exchange(1, 1000.0, backend="v3", role="challenger", key=(1 << 64) - 2, blamed=True)
    gone = exchange(2, 1001.0, status=0, answered_by="", ledger_version=4)
    add_rows(log, [fallback, gone], [LoggedOutput(b"1", "v2", 0.75, "high", ("DE", ""))], 1002.0)
    label(log, 1)
    label(log, 1, "plan", "gold")
    first, second = lines(log, Asked())
    assert first == {
        "request_id": "1", "at": 1000.0, "backend": "v3", "answered_by": "v2", "role": "challenger", "weight": 0.05,
        "ledger_version": 3, "key": "fffffffffffffffe", "status": 200, "seconds": 0.25, "blamed": True, "score": 0.75,
        "label": "high", "segment": ["DE", ""], "feedback": {"label": 1, "plan": "gold"},
    }  # fmt: skip
    unknown = ("answered_by", "weight", "key", "score", "label", "segment")
    assert [second[name] for name in unknown] == [None] * 6
    assert (second["status"], second["feedback"]) == (0, {})


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [1,\n 2.50],\r\n "b": "x\\n"}',
        b"12345678901234567890123",
        b'"text"',
        b"null",
        b"[" * 100 + b"]" * 100,
    ],
)
def test_an_input_that_is_json_is_shown_as_it_is(log: sqlite3.Connection, body: bytes) -> None:
    add_rows(log, [exchange(1, 1000.0)], [LoggedOutput(b"1", "v2", 0.5, None, body=body)], 1000.0)
    (row,) = lines(log, Asked())
    assert row["input"] == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\x00", b'{"a": 1} x', b'"\xc3\x28"', b"NaN", b"[" * 50_000, b'{"a": Infinity}']
)
def test_another_input_is_in_base64(log: sqlite3.Connection, body: bytes) -> None:
    add_rows(log, [exchange(1, 1000.0)], [LoggedOutput(b"1", "v2", 0.5, None, body=body)], 1000.0)
    (row,) = lines(log, Asked())
    assert "input" not in row
    assert b64decode(row["input_base64"]) == body
