"""The history of the routes: sampled from a controller, kept in a file that may be torn, full or gone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.history import History, history_path
from crossfade.control.history_file import HistoryFile
from crossfade.control.history_points import (
    COPIES,
    DAY,
    HOUR,
    LEVELS,
    LIVE,
    Level,
    Point,
    column,
    quantiles,
    series,
)
from crossfade.control.refusal import Unreadable
from crossfade.control.views import Verb
from crossfade.stats.counts import Cell, Counts
from crossfade.stats.histogram import Histogram

from .harness import Harness

TEN, MINUTE, LONG = LEVELS
V2, V3 = series(LIVE, "v2"), series(LIVE, "v3")
START = 1_700_006_400 - 1_700_006_400 % DAY
REQUESTS, ERRORS = column("requests", V2), column("errors", V2)


def point(n: int = 100, slow: float = 0.05, of: str = V2) -> Point:
    buckets = Histogram.of([slow] * n).buckets
    counts = {column("requests", of): float(n), column("errors", of): n / 100}
    return Point(
        {"seconds": 10.0, column("weight", of): 1.0, **counts} | quantiles(of, buckets), {of: buckets}
    )


def fill(file: HistoryFile, seconds: int, start: int = START, routes: tuple[str, ...] = ("churn",)) -> None:
    for at in range(start, start + seconds, 10):
        file.add(at, {route: point() for route in routes})
        assert file.error == ""


def requests(points: dict[int, Point]) -> float:
    return sum(each.values.get(REQUESTS, 0.0) for each in points.values())


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[tuple[Harness, History]]:
    harness = Harness()
    await harness.load()
    made = History(harness.controller.state, str(tmp_path / "crossfade.db.history"), lambda: harness.now)
    yield harness, made
    await made.close()


async def run(harness: Harness, history: History, ticks: int, n: int = 400) -> None:
    for _ in range(ticks):
        await harness.tick(n)
        history.look()


def kept(history: History, until: int) -> dict[int, Point]:
    """What the file has when nobody holds it."""
    with closing(HistoryFile(history.file.path)) as file:
        return file.points("churn", TEN, 0, until)


# ── sampling ──────────────────────────────────────────────────────────────────────────────────────


async def test_every_request_is_in_one_sample(history: tuple[Harness, History]) -> None:
    harness, made = history
    began = int(harness.now)
    harness.error_share = {"v3": 0.1}
    await run(harness, made, 35)
    await made.close()
    points = await asyncio.to_thread(kept, made, int(harness.now) + 10)
    assert min(points) == began - began % 10
    cells = harness.controller.state.totals.cells.values()
    for name in ("v2", "v3"):
        of = series(LIVE, name)
        counted = sum(cell.requests for cell in cells if cell.backend == name)
        failed = sum(cell.errors for cell in cells if cell.backend == name)
        assert sum(p.values.get(column("requests", of), 0) for p in points.values()) == counted > 0
        assert sum(p.values.get(column("errors", of), 0) for p in points.values()) == failed
    last = points[max(points)].values
    assert last[column("weight", V2)] + last[column("weight", V3)] == 1.0
    assert sum(p.values["seconds"] for p in points.values()) == pytest.approx(35)


async def test_quantiles_are_of_the_sample_and_not_of_all_time(history: tuple[Harness, History]) -> None:
    harness, made = history
    await run(harness, made, 12)
    harness.latency = {"v2": 0.4}
    began = int(harness.now)
    await run(harness, made, 25)
    points = await made.read(lambda file: file.points("churn", TEN, began, began + 20))
    assert points[max(points)].values[column("p50", V2)] == pytest.approx(0.4, rel=0.02)


async def test_evidence_is_kept_while_the_rollout_runs(history: tuple[Harness, History]) -> None:
    harness, made = history
    await run(harness, made, 12)
    found = await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now)))
    names = {name for each in found.values() for name in each.values}
    for field in ("evidence", "bound", "estimate", "low", "high"):
        assert column(field, "v3", "error_rate <= 5%") in names
    await harness.controller.command("churn", Verb.ABORT, "kim", harness.now)
    began = int(harness.now) + 10
    await run(harness, made, 25)
    found = await made.read(lambda file: file.points("churn", TEN, began, int(harness.now)))
    assert not any(name.startswith("evidence") for each in found.values() for name in each.values)


async def test_copies_are_a_series_of_their_own(history: tuple[Harness, History]) -> None:
    harness, made = history
    await run(harness, made, 1)
    harness.seam.counts = Counts([Cell("churn", "v3", "shadow", 2, requests=7)])
    await run(harness, made, 12, 0)
    found = await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now)))
    name = column("requests", series(COPIES, "v3"))
    assert sum(each.values.get(name, 0) for each in found.values()) == 7


async def test_a_route_without_requests_has_zeros_and_not_gaps(history: tuple[Harness, History]) -> None:
    harness, made = history
    await run(harness, made, 12, 0)
    found = await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now)))
    assert found[min(found)].values[REQUESTS] == 0.0
    assert column("p99", V2) not in found[min(found)].values


async def test_a_clock_that_is_set_back_counts_nothing_twice(history: tuple[Harness, History]) -> None:
    harness, made = history
    await run(harness, made, 25)
    made.now = lambda: harness.now - HOUR
    await run(harness, made, 25)
    await made.close()
    found = await asyncio.to_thread(kept, made, int(harness.now) + 10)
    counted = sum(
        cell.requests for cell in harness.controller.state.totals.cells.values() if cell.backend == "v2"
    )
    assert requests(found) == counted


async def test_a_state_in_memory_has_its_history_in_memory(tmp_path: Path) -> None:
    harness = Harness()
    await harness.load()
    assert history_path(harness.store.name) == ":memory:"
    made = History(harness.controller.state, ":memory:", lambda: harness.now)
    await run(harness, made, 12)
    assert await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now)))
    await made.close()


async def test_the_loop_takes_samples_by_itself(history: tuple[Harness, History]) -> None:
    harness, made = history
    made.begin()
    harness.now += 10
    async with asyncio.timeout(10):
        while not await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now))):
            await asyncio.sleep(0.05)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def test_each_level_has_all_requests(tmp_path: Path) -> None:
    file = HistoryFile(str(tmp_path / "h"))
    with closing(file):
        fill(file, 3000)
        for level in LEVELS:
            found = file.points("churn", level, START, START + 3000)
            assert len(found) == 3000 // level.step
            assert requests(found) == pytest.approx(30_000, rel=1e-3)
            assert found[START].values[column("p99", V2)] == pytest.approx(0.05, rel=0.02)
        assert file.points("other", TEN, START, START + 3000) == {}


def test_only_the_time_that_is_asked_for(tmp_path: Path) -> None:
    file = HistoryFile(str(tmp_path / "h"))
    with closing(file):
        fill(file, 1500)
        assert list(file.points("churn", TEN, START + 590, START + 620)) == [
            START + 590,
            START + 600,
            START + 610,
        ]
        assert list(file.points("churn", TEN, START + 1480, START + 9999)) == [START + 1480, START + 1490]


def test_a_restart_finds_everything_and_the_next_proxy_adds_to_the_same_ten_seconds(tmp_path: Path) -> None:
    path = str(tmp_path / "h")
    with closing(HistoryFile(path)) as file:
        fill(file, 1210)
    with closing(HistoryFile(path)) as file:
        file.add(START + 1200, {"churn": point(50), "new": point(1)})
        found = file.points("churn", TEN, START, START + 1300)
        assert requests(found) == 12_150
        assert found[START + 1200].values[REQUESTS] == 150
        assert found[START + 1200].values["seconds"] == 20.0
        fill(file, 1200, START + 1210)
        assert requests(file.points("churn", LONG, START, START + 3600)) == pytest.approx(24_150, rel=1e-3)
        assert file.sums(START)["churn"][V2].counts[0] == 24_150


def test_the_sums_of_days_are_exact(tmp_path: Path) -> None:
    with closing(HistoryFile(str(tmp_path / "h"))) as file:
        fill(file, 2 * HOUR, START - HOUR)
        both, today = file.sums(START - DAY)["churn"][V2], file.sums(START)["churn"][V2]
        assert (both.counts[0], today.counts[0]) == (72_000, 36_000)
        assert both.counts[1] == 720
        assert both.durations.count == 72_000
        assert file.sums(START + DAY) == {}


def test_points_age_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = (Level(10, 1200, 600), Level(60, 2400, 1200), Level(600, 6000, 3000))
    monkeypatch.setattr("crossfade.control.history_file.LEVELS", short)
    with closing(HistoryFile(str(tmp_path / "h"))) as file:
        fill(file, 12_000)
        oldest = [min(file.points("churn", level, 0, START + 12_000)) - START for level in short]
        for level, begins in zip(short, oldest, strict=True):
            assert 12_000 - level.keep - 2 * level.block - 600 <= begins <= 12_000 - level.keep


def test_the_file_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "h"
    routes = tuple(f"r{i}" for i in range(20))
    with closing(HistoryFile(str(path), limit=100_000)) as file:
        fill(file, 4 * HOUR, routes=routes)
        assert file.points("r0", LONG, START, START + 4 * HOUR), "the finest points go first"
        fine = file.points("r0", TEN, START, START + 4 * HOUR)
        assert max(fine) == START + 4 * HOUR - 10
        assert min(fine) > START
    assert os.path.getsize(path) < 400_000


def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_bytes(b"no database, but some bytes of another program" * 100)
    with closing(HistoryFile(str(path))) as file:
        fill(file, 20)
        assert requests(file.points("churn", TEN, START, START + 20)) == 200
    assert path.with_name("h.damaged").read_bytes().startswith(b"no database")


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_a_torn_file_costs_points_and_nothing_else(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "h"
    with closing(HistoryFile(str(path))) as file:
        fill(file, 3 * HOUR)
    os.truncate(path, int(os.path.getsize(path) * cut))
    with closing(HistoryFile(str(path))) as file:
        later = START + 3 * HOUR
        for at in range(later, later + 1300, 10):
            file.add(at, {"churn": point()})
        assert file.error == ""
        found = file.points("churn", TEN, later, later + 1300)
        assert requests(found) >= 100 * 65, "what came after the file was begun anew"


def test_a_file_of_another_format_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE x (y)")
    with closing(HistoryFile(str(path))) as file:
        fill(file, 10)
    assert path.with_name("h.damaged").exists()


def test_a_file_that_is_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with closing(HistoryFile(str(path))) as file:
        fill(file, 50)
        path.unlink()
        fill(file, 50, START + 50)
        assert requests(file.points("churn", TEN, START, START + 100)) == 500
    with closing(HistoryFile(str(path))) as file:
        assert requests(file.points("churn", TEN, START, START + 100)) == 500


async def test_a_history_that_cannot_be_read_is_said_to_be_so(history: tuple[Harness, History]) -> None:
    harness, made = history
    await run(harness, made, 12)

    def write_over(file: HistoryFile) -> None:
        assert file.connection is not None
        file.connection.execute("UPDATE recent SET points = x'c1'")

    await made.read(write_over)
    with pytest.raises(Unreadable, match="the history cannot be read"):
        await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now)))
    assert await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now))) == {}
    await run(harness, made, 12)
    assert await made.read(lambda file: file.points("churn", TEN, 0, int(harness.now)))


def test_what_a_full_disk_does_not_take_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "h"
    with closing(HistoryFile(str(path))) as file:
        fill(file, 100)
        assert file.connection is not None
        (pages,) = file.connection.execute("PRAGMA page_count").fetchone()
        file.connection.execute(f"PRAGMA max_page_count = {pages}")
        full = {f"r{i}": point(1000 + i) for i in range(300)}
        for at in range(START + 100, START + 150, 10):
            file.add(at, full)
        assert "full" in file.error
        assert len(file.unwritten) == 5
        found = file.points("r7", TEN, START, START + 200)
        assert requests(found) == 5 * 1007, "what waits is shown too"
        file.connection.execute("PRAGMA max_page_count = 1000000")
        file.add(START + 150, full)
        assert (file.error, len(file.unwritten)) == ("", 0)
        assert requests(file.points("r7", TEN, START, START + 200)) == 6 * 1007
    assert [r.getMessage() for r in caplog.records if r.name == "crossfade.history"] == [
        "the history is not written: database or disk is full; the last 60 points wait",
        "the history is written again",
    ]


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with closing(HistoryFile(str(folder / "h"))) as file:
        for at in range(START, START + 2000, 10):
            file.add(at, {"churn": point()})
        assert len(file.unwritten) == 60
        folder.mkdir()
        file.add(START + 2000, {"churn": point()})
        found = file.points("churn", TEN, START, START + 3000)
        assert (min(found), max(found)) == (START + 1410, START + 2000)


def test_a_file_belongs_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with closing(HistoryFile(str(path))) as file:
        fill(file, 10)
        assert path.stat().st_mode & 0o777 == 0o600
