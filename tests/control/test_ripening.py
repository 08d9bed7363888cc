"""Ripe predictions enter the evidence once: of one age, over restarts, and never while a decision is written."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control import ripening
from crossfade.control.replay import journal, replayed
from crossfade.control.ripening import read_ripe, ripe_until
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.rollout.ripe import Ripe, Said

from .harness import CANARY, NOW, Harness
from .logged import WrittenLog

CHECKS = CANARY[CANARY.index("      checks:") :]
HEAD = CANARY.replace(CHECKS, "").replace(
    "    fallback: v2\n", "    fallback: v2\n    feedback: {horizon: 1h}\n"
)
KPI = HEAD + "      checks: [{metric: kpi, name: bought, kind: event, min_increase: 0}]\n"
TITLE = "kpi bought (event) >= champion + 0"
HORIZON = 3600.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WrittenLog]:
    written = WrittenLog(tmp_path)
    with closing(written.connection):
        yield written


class LogHarness(Harness):
    """With a prediction log. `start` reads the state as a new process does."""

    def __init__(self, log: WrittenLog, store: Store) -> None:
        super().__init__(store)
        self.log = log
        self.controller.logs.folder = log.folder

    async def reach(self, step: int) -> None:
        while self.rollout.step != step or self.rollout.weight == 0:
            await self.tick(400)

    def counted(self) -> int:
        found = self.controller.state.routes["churn"].rollouts["v3"].evidence.kpis.get(TITLE)
        return found.here.n + found.rest.n if found else 0

    @property
    def fed_to(self) -> int:
        return self.controller.state.routes["churn"].rollouts["v3"].evidence.fed_to

    def predict(self, n: int, rate: float = 0.2) -> None:
        """Predictions of both sides now, each with its feedback."""
        rng = random.Random(self.log.last)
        for i in range(n):
            here = i % 20 == 0
            value = float(rng.random() < rate)
            backend = "v3" if here else "v2"
            self.log.add(backend, self.route.ledger.version, self.wall, feedback={"bought": value})


async def started(log: WrittenLog, store: Store, yaml: str = KPI) -> LogHarness:
    harness = LogHarness(log, store)
    await harness.load(yaml)
    await harness.run(2)
    return harness


async def test_a_prediction_counts_when_it_is_as_old_as_the_horizon(log):
    harness = await started(log, Store.open("sqlite::memory:"))
    harness.predict(100)
    await harness.tick()
    await harness.tick()
    assert harness.counted() == 0
    await harness.tick(seconds=HORIZON - 10)
    await harness.tick()
    assert harness.counted() == 0
    await harness.tick(seconds=20)
    await harness.tick()
    assert harness.counted() == 100
    harness.predict(60)
    await harness.tick(seconds=HORIZON + 10)
    await harness.run(3, 0)
    assert harness.counted() == 160


async def test_each_prediction_counts_once_over_restarts_and_lost_seconds(log, tmp_path, monkeypatch):
    """The evidence on disk may be older than what was counted; the log is read again from there."""
    monkeypatch.setattr(ripening, "PORTION", 30)
    path = f"sqlite:{tmp_path}/state.db"
    now = NOW
    for life in range(6):
        with closing(Store.open(path)) as store:
            harness = LogHarness(log, store)
            harness.now = now
            await harness.load(KPI)
            await harness.tick(400)
            harness.predict(50)
            await harness.tick(seconds=HORIZON + 1)
            journal = harness.controller.journal
            for tick in range(life):
                if tick == 1:  # from here on nothing reaches the disk, as behind a kill
                    monkeypatch.setattr(journal, "save_evidence", lambda *_: None)
                await harness.tick(seconds=2)
            now = harness.now
    with closing(Store.open(path)) as store:
        harness = LogHarness(log, store)
        harness.now = now
        await harness.load(KPI)
        for _ in range(40):
            await harness.tick(seconds=1)
        assert (harness.counted(), harness.fed_to) == (300, log.last)


async def test_feedback_decides_and_the_journal_is_replayed(log):
    harness = await started(log, Store.open("sqlite::memory:"))
    rng = random.Random(1)
    for _ in range(12_000):
        here = rng.random() < 0.05
        value = float(rng.random() < (0.05 if here else 0.3))
        log.add(
            "v3" if here else "v2", harness.route.ledger.version, harness.wall, feedback={"bought": value}
        )
    await harness.tick(seconds=HORIZON + 1)
    for _ in range(20):
        await harness.tick(20)
    assert harness.rollout.phase == "aborted"
    assert "bought is 0.0" in (await harness.decisions())[-1].reason
    report = replayed(journal(harness.store))
    assert (report.differences, report.replayed > 0) == ([], True)


async def test_what_was_read_waits_while_a_decision_is_written(log):
    harness = await started(log, Store.open("sqlite::memory:"))
    harness.predict(100)
    harness.now += HORIZON + 1
    route = harness.controller.state.routes["churn"]
    await harness.tick()
    assert "churn" in harness.controller.ripening.found
    async with route.lock:
        await harness.tick()
        assert harness.counted() == 0
    await harness.tick()
    assert harness.counted() == 100


async def test_another_attempt_counts_only_its_own_predictions(log):
    harness = await started(log, Store.open("sqlite::memory:"))
    harness.predict(100)
    await harness.tick(seconds=HORIZON + 1)
    await harness.tick()
    assert harness.counted() == 100
    for verb in (Verb.ABORT, Verb.RETRY):
        await harness.controller.command("churn", verb, "kim", harness.wall)
    await harness.run(3)
    assert (harness.counted(), harness.rollout.phase) == (0, "progressing")
    harness.predict(40)
    await harness.tick(seconds=HORIZON + 1)
    await harness.run(3, 0)
    assert (harness.counted(), harness.fed_to) == (40, log.last)


async def test_predictions_of_a_lost_state_do_not_count_in_another_one(log, tmp_path):
    """Versions of the ledger begin anew with the state, so those in the log would have the weights of another rollout."""
    before = await started(log, Store.open("sqlite::memory:"))
    before.predict(100)
    log.connection.execute("INSERT INTO ledger VALUES (2, '{}')")
    await before.tick(seconds=HORIZON + 1)
    await before.run(3, 0)
    assert (before.counted(), before.route.ledger.version) == (100, 2)
    assert await before.controller.close()
    after = LogHarness(log, Store.open("sqlite::memory:"))
    after.now = before.now
    await after.load(KPI)
    await after.run(2)
    await after.run(5, 0)
    assert (after.counted(), after.route.ledger.version) == (0, 2)
    assert len(list(tmp_path.glob("churn.db.*"))) == 1


async def test_missing_feedback_is_a_number_where_the_check_says_so(log):
    yaml = KPI.replace("kind: event", "kind: event, missing: 0")
    harness = await started(log, Store.open("sqlite::memory:"), yaml)
    version = harness.route.ledger.version
    for i in range(100):
        log.add(
            "v3" if i % 20 == 0 else "v2", version, harness.wall, feedback={"bought": 1} if i < 30 else {}
        )
    await harness.tick(seconds=HORIZON + 1)
    await harness.tick()
    (found,) = harness.controller.state.routes["churn"].rollouts["v3"].evidence.kpis.values()
    assert (found.here.n + found.rest.n, found.here.total + found.rest.total) == (100, 30)


async def test_a_log_that_cannot_be_read_is_said_once_and_read_again_later(log, caplog):
    harness = await started(log, Store.open("sqlite::memory:"))
    harness.predict(10)
    log.connection.execute("ALTER TABLE prediction RENAME TO hidden")
    await harness.tick(seconds=HORIZON + 1)
    await harness.run(5)
    said = [r.getMessage() for r in caplog.records if "prediction log of churn" in r.getMessage()]
    assert said == ["the prediction log of churn cannot be read: no such table: prediction"]
    log.connection.execute("ALTER TABLE hidden RENAME TO prediction")
    for _ in range(4):
        await harness.tick(seconds=1)
    assert harness.counted() == 10


async def test_what_became_ripe_during_a_long_downtime_counts_before_it_leaves_the_log(log, monkeypatch):
    monkeypatch.setattr(ripening, "PORTION", 30)
    yaml = KPI.replace("horizon: 1h", "horizon: 1h, keep: 10m")
    harness = await started(log, Store.open("sqlite::memory:"), yaml)
    harness.predict(100)
    await harness.tick(seconds=HORIZON * 3)
    await harness.run(8, 0)
    assert harness.counted() == 100
    assert log.connection.execute("SELECT count(*) FROM prediction").fetchone() == (0,)


async def test_rows_of_no_backend_are_said_once(log, caplog):
    harness = await started(log, Store.open("sqlite::memory:"))
    harness.predict(10)
    log.connection.execute("DELETE FROM backend")
    await harness.tick(seconds=HORIZON + 1)
    await harness.run(5)
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        "the prediction log of churn cannot be read: KeyError(1)"
    ]


async def test_a_folder_that_cannot_be_searched_is_said_once(log, caplog, monkeypatch):
    harness = await started(log, Store.open("sqlite::memory:"))
    harness.predict(10)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(harness.controller.logs, "_read", refuse)
        await harness.tick(seconds=HORIZON + 1)
        await harness.run(5)
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert said == ["the prediction log of churn cannot be read: [Errno 13] Permission denied"]
    for _ in range(4):
        await harness.tick(seconds=1)
    assert harness.counted() == 10


async def test_a_route_without_feedback_or_without_a_log_reads_nothing(log, tmp_path):
    harness = await started(
        log, Store.open("sqlite::memory:"), KPI.replace("    feedback: {horizon: 1h}\n", "")
    )
    harness.predict(10)
    await harness.tick(seconds=HORIZON + 1)
    await harness.run(2, 0)
    assert harness.counted() == 0


@pytest.mark.parametrize("role", ["tester", "cached"])
def test_what_is_read_of_a_prediction(log, role):
    log.add("v2", 3, 0.0, key=1 << 63, said=(0.7, "high"), feedback={"label": 1, "note": "late"})
    log.add("v3", 3, 0.0, answered="v2", said=(0.2, "low"))  # the fallback answered
    log.add("v3", 3, 0.0, answered=None)
    log.add("v3", 3, 0.0, role=role)
    log.add("v3", 2, 0.0)
    log.add("v2", 4, 0.0, said=(0.4, "low"), copies={"v3": (0.6, "high")})
    portion = read_ripe(log.connection, 0, 3, 1.0, threshold=0.5)
    assert (portion.after, portion.upto) == (0, 6)
    unkeyed = [row.unit for row in portion.rows[1:]]
    assert len(set(unkeyed)) == 3 and all(0 <= unit < 1 << 64 for unit in unkeyed)
    assert [row._replace(unit=0) if not row.keyed else row for row in portion.rows] == [
        Ripe(1, 3, "v2", 1 << 63, True, {"label": 1, "note": "late"}, Said(0.7, True)),
        Ripe(2, 3, "v3", 0),
        Ripe(3, 3, "v3", 0),
        Ripe(6, 4, "v2", 0, False, {}, Said(0.4, False), {"v3": Said(0.6, True)}),
    ]
    plain = read_ripe(log.connection, 0, 4, 1.0).rows
    assert [row.said for row in plain] == [Said(0.4, "low")]


@pytest.mark.parametrize("portion", [1, 3, 7, 100])
def test_portions_have_each_row_once(log, monkeypatch, portion):
    monkeypatch.setattr(ripening, "PORTION", portion)
    monkeypatch.setattr(ripening, "SCANNED", 8)
    rng = random.Random(portion)
    for at in range(60):
        log.add("v2", 2 + (rng.random() < 0.5), float(at))
    log.connection.execute("DELETE FROM prediction WHERE seq <= 12 OR seq BETWEEN 30 AND 33")
    for ripe_at in (20.0, 45.5, 59.0):
        after, seen = 0, list[int]()
        while (read := read_ripe(log.connection, after, 3, ripe_at)).upto > after:
            seen += [row.seq for row in read.rows]
            after = read.upto
        wanted = "SELECT seq FROM prediction WHERE ledger_version = 3 AND logged_at <= ? ORDER BY seq"
        assert seen == [seq for (seq,) in log.connection.execute(wanted, (ripe_at,))]


def test_nothing_is_ripe_in_an_empty_log(log):
    assert ripe_until(log.connection, 0, 1e9) == 0
    log.add("v2", 2, 10.0)
    assert (ripe_until(log.connection, 0, 9.0), ripe_until(log.connection, 0, 10.0)) == (0, 1)
    assert ripe_until(log.connection, 1, 99.0) == 1
    log.connection.execute("DELETE FROM prediction")
    assert ripe_until(log.connection, 0, 1e9) == 0
    with closing(sqlite3.connect(":memory:")) as empty, pytest.raises(sqlite3.OperationalError):
        read_ripe(empty, 0, 0, 1.0)
