"""What waits for the prediction logs: written beside the loop, bounded, and kept while a log cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from crossfade.control import disk_thread, prediction_writer
from crossfade.control.logged_batches import LoggedBatches, Taken
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.prediction_writer import PredictionWriter
from crossfade.quality.logged import LoggedBatch, LoggedExchange, batch_of_exchanges
from crossfade.routing.ledger import new_ledger
from tests.control.harness import loaded

NOW = 1_700_000_000.0
FEEDBACK = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    feedback: {horizon: 100s, keep: 10m, max: 1MiB}
"""


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[PredictionWriter]:
    made = PredictionWriter(PredictionLogs(tmp_path / "logs"))
    made.use(loaded(FEEDBACK).config.routes)
    yield made
    assert await made.close(NOW)


def batch(*ids: int, route: str = "churn", version: int = 1) -> LoggedBatch:
    rows = [LoggedExchange(b"%d" % n, NOW, "v2", "champion", version, 7, 200, 0.1, "v2") for n in ids]
    return batch_of_exchanges(route, rows)


async def take(writer: PredictionWriter, *batches: LoggedBatch, now: float = NOW) -> None:
    writer.take(Taken(batches, {}), now)
    await writer.idle()


async def query(writer: PredictionWriter, text: str, route: str = "churn") -> list[tuple[Any, ...]]:
    return await writer.logs.read(route, lambda connection: connection.execute(text).fetchall()) or []


async def ids(writer: PredictionWriter, route: str = "churn") -> list[int]:
    found = await query(writer, "SELECT CAST(request_id AS TEXT) FROM prediction ORDER BY seq", route)
    return [int(each) for (each,) in found]


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def add_rows(*given: object) -> None:
        raise error

    monkeypatch.setattr(prediction_writer, "add_rows", add_rows)


async def test_batches_are_written_in_their_order(writer: PredictionWriter) -> None:
    writer.take(Taken([batch(1, 2), batch(9, route="other")], {}), NOW)
    writer.take(Taken([batch(3)], {}), NOW)  # while the first are being written
    await writer.idle()
    await take(writer, batch(4))
    assert await ids(writer) == [1, 2, 3, 4]
    assert await ids(writer, "other") == [9]
    assert (writer.rows["churn"], writer.size, writer.waiting) == (4, 0, {})


async def test_weights_are_written_with_the_rows_that_have_their_version(writer: PredictionWriter) -> None:
    writer.note("churn", new_ledger({"v2": 10_000}, b"salt"))
    writer.note("other", new_ledger({"v2": 10_000}, b"salt"))  # it has no log
    await take(writer, batch(1))
    writer.note("churn", new_ledger({"v2": 10_000}, b"salt"))
    assert await query(writer, "SELECT version, weights FROM ledger") == [(1, '{"v2":10000}')]
    assert not any(writer.weights.values())
    assert await ids(writer, "other") == []


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database or disk is full"), OSError(28, "No space left on device")]
)
async def test_rows_wait_while_the_disk_is_full_and_go_on_by_themselves(
    writer: PredictionWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, error)
        for n in (1, 2, 3):
            await take(writer, batch(n))
        assert writer.view().errors == {"churn": str(error)}
        assert writer.size == sum(each.size for each in writer.waiting["churn"]) > 0
    await take(writer)
    assert await ids(writer) == [1, 2, 3]
    assert (writer.size, writer.view().errors, writer.dropped) == (0, {"churn": ""}, {})
    assert len(caplog.records) == 2  # one when it begins, one when it ends


async def test_what_there_is_no_room_for_is_dropped_and_counted(
    writer: PredictionWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.most = 2 * batch(1).size
    with monkeypatch.context() as patch:
        failing(patch, sqlite3.OperationalError("disk I/O error"))
        for n in range(6):
            await take(writer, batch(n))
    await take(writer, batch(6))
    assert await ids(writer) == [0, 1]
    await take(writer, batch(7))
    assert await ids(writer) == [0, 1, 7]
    assert writer.dropped == {("churn", "queue"): 5}


async def test_drops_on_the_way_are_counted(writer: PredictionWriter) -> None:
    came = LoggedBatches(most=batch(1).size)
    came.add([batch(1), batch(2, 3)])
    writer.take(came.take(), NOW)
    await writer.idle()
    assert (await ids(writer), writer.dropped) == ([1], {("churn", "queue"): 2})


async def test_a_batch_that_cannot_be_read_is_dropped_and_others_are_written(
    writer: PredictionWriter, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await take(writer, LoggedBatch("churn", 5, exchanges=b"\xc1"))
    assert len(caplog.records) == 1
    await take(writer, batch(1))
    assert (await ids(writer), writer.dropped) == ([1], {("churn", "error"): 15})


async def test_a_damaged_log_costs_its_rows_only(writer: PredictionWriter, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "churn.db"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    await take(writer, batch(1), batch(2, route="other"))
    assert (await ids(writer, "other"), writer.dropped) == ([2], {("churn", "error"): 1})
    assert "not a database" in writer.errors["churn"]
    path.unlink()
    await take(writer, batch(3))
    assert (await ids(writer), writer.errors) == ([3], {})


async def test_a_log_of_a_later_version_is_left_as_it_is(writer: PredictionWriter, tmp_path: Path) -> None:
    await take(writer, batch(1))
    await writer.logs.write("churn", lambda connection: connection.execute("PRAGMA user_version = 99"))
    later = PredictionWriter(PredictionLogs(tmp_path / "logs"))
    await take(later, batch(2))
    assert "format 99" in later.errors["churn"]
    assert await later.close(NOW)
    assert await query(writer, "SELECT 1") == []  # nor is it read
    await writer.logs.write("churn", lambda connection: connection.execute("PRAGMA user_version = 1"))
    assert await ids(writer) == [1]


async def test_a_log_that_was_deleted_begins_anew_above_the_numbers_before(
    writer: PredictionWriter, tmp_path: Path
) -> None:
    await take(writer, batch(1, 2))
    ((before,),) = await query(writer, "SELECT max(seq) FROM prediction")
    for path in (tmp_path / "logs").glob("churn.db*"):
        path.unlink()
    assert await ids(writer) == []
    await take(writer, batch(3))
    assert await ids(writer) == [3]
    ((after,),) = await query(writer, "SELECT max(seq) FROM prediction")
    assert after >= before - 1  # in the same second; the clock of a real one has gone on


async def test_a_log_is_pruned_from_time_to_time_without_traffic_too(writer: PredictionWriter) -> None:
    await take(writer, batch(1))
    await take(writer, batch(2), now=NOW + 600.0)
    await take(writer, now=NOW + 699.0)
    assert await ids(writer) == [1, 2]
    await take(writer, now=NOW + 701.0)
    assert await ids(writer) == [2]
    assert writer.view().sizes["churn"] > 0
    assert not writer.dropped


async def test_a_log_above_its_size_says_so_once(
    writer: PredictionWriter, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(60):
        await take(writer, batch(*range(n * 1000, n * 1000 + 1000)), now=NOW + 2 * n)
    found = await ids(writer)
    assert found[-1] == 59_999
    assert writer.dropped["churn", "size"] == 60_000 - len(found) > 10_000
    assert writer.sizes["churn"] < 2 << 20
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_log_that_cannot_be_pruned_is_said_once_and_is_well_again_without_rows(
    writer: PredictionWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk may have room for rows, and none for what a deletion writes."""

    def prune(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(prediction_writer, "prune", prune)
        for second in range(4):
            await take(writer, batch(second), now=NOW + 2 * second)
    assert await ids(writer) == [0, 1, 2, 3]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert writer.view().errors == {"churn": "database or disk is full"}
    await take(writer, now=NOW + 10)
    assert writer.view().errors == {"churn": ""}
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_a_renamed_route_keeps_its_log(writer: PredictionWriter, tmp_path: Path) -> None:
    await take(writer, batch(1))
    renamed = FEEDBACK.replace("name: churn", "name: leaving\n    renamed_from: churn")
    writer.use(loaded(renamed).config.routes)
    await take(writer, batch(2, route="leaving"))
    assert await ids(writer, "leaving") == [1, 2]
    assert [path.name for path in (tmp_path / "logs").glob("*.db")] == ["leaving.db"]
    writer.use(loaded(renamed).config.routes)
    again = PredictionWriter(writer.logs)  # the next start, with the same file
    again.use(loaded(renamed).config.routes)
    await take(again, batch(3, route="leaving"))
    assert await ids(again, "leaving") == [1, 2, 3]


async def test_a_log_that_an_earlier_route_left_is_set_aside(
    writer: PredictionWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its predictions are of other weights under the same versions of a ledger that begins anew."""
    writer.note("churn", new_ledger({"v2": 10_000}, b""))
    await take(writer, batch(1, version=2))
    writer.use(loaded(FEEDBACK).config.routes, {"churn": "churn"})
    assert await ids(writer) == [1]
    writer.use(loaded(FEEDBACK).config.routes, {"churn": ""})
    await take(writer, batch(2, version=2))
    assert await ids(writer) == [2]
    (aside,) = (tmp_path / "logs").glob("churn.db.*")
    assert aside.name in caplog.text
    with closing(sqlite3.connect(aside)) as old:
        assert old.execute("SELECT request_id FROM prediction").fetchall() == [(b"1",)]


async def test_an_empty_log_is_not_set_aside(writer: PredictionWriter, tmp_path: Path) -> None:
    await take(writer)
    writer.use(loaded(FEEDBACK).config.routes, {"churn": ""})
    await take(writer, batch(1))
    assert list((tmp_path / "logs").glob("churn.db.*")) == []


async def test_a_renamed_route_takes_its_log_where_an_earlier_one_left_another(
    writer: PredictionWriter, tmp_path: Path
) -> None:
    await take(writer, batch(1), batch(2, route="leaving"))
    ledger = "INSERT INTO ledger VALUES (1, '{}')"
    await writer.logs.write("leaving", lambda connection: connection.execute(ledger))
    renamed = loaded(FEEDBACK.replace("name: churn", "name: leaving\n    renamed_from: churn"))
    writer.use(renamed.config.routes, {"leaving": "churn"})
    await take(writer, batch(3, route="leaving"))
    assert await ids(writer, "leaving") == [1, 3]
    assert len(list((tmp_path / "logs").glob("leaving.db.*"))) == 1


async def test_a_log_that_has_the_new_name_is_not_replaced(writer: PredictionWriter) -> None:
    await take(writer, batch(1), batch(2, route="leaving"))
    writer.use(
        loaded(FEEDBACK.replace("name: churn", "name: leaving\n    renamed_from: churn")).config.routes
    )
    await take(writer)
    assert (await ids(writer, "leaving"), await ids(writer)) == ([2], [1])


async def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    writer = PredictionWriter(PredictionLogs(tmp_path / "logs"))
    writer.take(Taken([batch(1)], {}), NOW)
    writer.take(Taken([batch(2)], {}), NOW)
    assert await writer.close(NOW)
    assert await ids(writer) == [1, 2]


async def test_a_disk_that_hangs_stops_neither_ticks_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_writer, "CLOSE_WAIT", 0.05)
    monkeypatch.setattr(disk_thread.DiskThread.end, "__defaults__", (0.05,))
    goes_on = Event()
    writer = PredictionWriter(PredictionLogs(tmp_path / "logs"), most=3 * batch(1).size)
    writer.logs.writing.submit(goes_on.wait)
    for n in range(6):
        writer.take(Taken([batch(n)], {}), NOW)
        await asyncio.sleep(0)
    assert writer.dropped == {("churn", "queue"): 3}
    assert not await writer.close(NOW)
    goes_on.set()
    await writer.idle()
    assert await asyncio.to_thread(writer.logs.writing.end, 60.0)
    assert await ids(writer) == [0]  # what was on its way is written, and nothing twice
