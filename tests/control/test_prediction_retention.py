"""The oldest rows leave a prediction log by age and by size, in portions, with all that belongs to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from crossfade.control import prediction_tables
from crossfade.control.prediction_retention import PART, Retention, file_size_of, prune, size_of
from crossfade.control.prediction_rows import add_rows
from crossfade.quality.logged import LoggedExchange, LoggedOutput

HORIZON, KEEP = 100.0, 50.0
LARGE = 1 << 40
BY_AGE = Retention(HORIZON, KEEP, LARGE)


@pytest.fixture
def log() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    prediction_tables.prepare(connection, 1_700_000_000.0)
    yield connection
    connection.close()


def add(log: sqlite3.Connection, now: float, n: int = 1, body: bytes | None = None) -> None:
    """With an output of a copy, an input and feedback each."""
    ids = [b"%d-%d" % (now, number) for number in range(n)]
    rows = [LoggedExchange(each, now, "v2", "champion", 1, 7, 200, 0.1, "v2") for each in ids]
    outputs = [LoggedOutput(each, "v2", 0.5, None, body=body) for each in ids]
    copies = [LoggedOutput(each, "v3", 0.5, None, copy=True) for each in ids]
    log.execute("BEGIN")
    add_rows(log, rows, outputs + copies, now)
    log.execute(
        "INSERT INTO feedback SELECT seq, 'label', 1, 0, 0 FROM prediction WHERE logged_at = ?", (now,)
    )
    log.execute("COMMIT")


def left(log: sqlite3.Connection, table: str = "prediction") -> int:
    (found,) = log.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(found)


def times(log: sqlite3.Connection) -> list[float]:
    return [at for (at,) in log.execute("SELECT DISTINCT logged_at FROM prediction ORDER BY seq")]


def test_an_empty_log_stays_as_it_is(log: sqlite3.Connection) -> None:
    assert prune(log, BY_AGE, 1e9, 10) == (0, 0, file_size_of(log), False)
    assert prune(log, Retention(HORIZON, KEEP, 0), 1e9, 10).rows == 0


def test_rows_leave_when_the_time_behind_the_horizon_is_over(log: sqlite3.Connection) -> None:
    for now in (1000.0, 1010.0, 1020.0):
        add(log, now, body=b"{}")
    assert prune(log, BY_AGE, 1149.0, 10).rows == 0
    found = prune(log, BY_AGE, 1160.0, 10)
    assert (found.rows, found.unripe, found.more) == (2, 0, False)
    assert times(log) == [1020.0]
    assert [left(log, table) for table in ("prediction", "copy", "input", "feedback")] == [1, 1, 1, 1]


def test_old_rows_leave_in_portions(log: sqlite3.Connection) -> None:
    add(log, 1000.0, 25)
    add(log, 2000.0, 3)
    found = [prune(log, BY_AGE, 2000.0, 10) for _ in range(4)]
    assert [(each.rows, each.more) for each in found] == [(10, True), (10, True), (5, False), (0, False)]
    assert times(log) == [2000.0]


def test_rows_that_the_evidence_has_not_had_do_not_leave_for_their_age(log: sqlite3.Connection) -> None:
    """A proxy that was down for longer than rows are kept finds them when it is up again."""
    add(log, 1000.0, 5)
    add(log, 1010.0, 5)
    (last,) = log.execute("SELECT max(seq) FROM prediction").fetchone()
    assert prune(log, BY_AGE, 2000.0, 100, fed_to=0) == (0, 0, file_size_of(log), False)
    assert prune(log, BY_AGE, 2000.0, 100, fed_to=last - 1).rows == 0
    assert prune(log, BY_AGE._replace(max=0), 2000.0, 100, fed_to=0).rows == 1  # the size goes first
    assert prune(log, BY_AGE, 2000.0, 100, fed_to=last).rows == 9


@pytest.mark.parametrize("portion", [3, 1000])
def test_a_log_above_its_size_gives_up_its_oldest_rows_and_says_which_were_not_ripe(
    log: sqlite3.Connection, portion: int
) -> None:
    for number in range(10):
        add(log, 1000.0 + number, 40, b"x" * 1000)
    retention = Retention(HORIZON, KEEP, size_of(log) // 2)
    found = [prune(log, retention, 1104.5, portion)]
    while found[-1].more:
        found.append(prune(log, retention, 1104.5, portion))
    assert size_of(log) <= retention.max
    assert 100 < left(log) < 250
    assert max(each.rows for each in found) <= min(portion, 400 // PART + 1)
    assert sum(each.rows for each in found) == 400 - left(log)
    assert sum(each.unripe for each in found) == max(0, 200 - left(log))  # 200 were written at 1005 or later
    assert times(log)[-1] == 1009.0


def test_what_was_freed_is_used_again(log: sqlite3.Connection) -> None:
    retention = Retention(HORIZON, 1e9, 400_000)
    sizes = []
    for number in range(40):
        add(log, 1000.0 + number, 50, b"x" * 1000)
        while prune(log, retention, 1000.0 + number, 1000).more:
            pass
        sizes.append(file_size_of(log))
    assert max(sizes) < 600_000
    assert size_of(log) <= 400_000


def test_numbers_are_not_used_again(log: sqlite3.Connection) -> None:
    add(log, 1000.0)
    (before,) = log.execute("SELECT max(seq) FROM prediction").fetchone()
    prune(log, BY_AGE, 5000.0, 10)
    add(log, 5000.0)
    assert log.execute("SELECT max(seq) FROM prediction").fetchone() == (before + 1,)
