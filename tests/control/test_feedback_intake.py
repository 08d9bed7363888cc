"""Feedback on its way to the logs of several routes: which log, what is counted, and what a disk does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crossfade.control import feedback_intake
from crossfade.control.feedback_intake import MOST_NAMES, OTHER, FeedbackIntake
from crossfade.control.feedback_tables import WAIT, early_rows
from crossfade.control.prediction_logs import PredictionLogs, Work
from crossfade.control.refusal import Unwritten
from crossfade.quality.feedback import Feedback, FeedbackAnswer
from tests.control.harness import HEAD, Harness, loaded
from tests.control.prediction_rows import Predicted, add_predictions, values_of

ROUTES = """
routes:
  - {name: churn, match: {path: /predict}, split: {v2: 100%}, feedback: {horizon: 1h, correct_within: 10m}}
  - {name: fraud, match: {path: /fraud}, split: {v3: 100%}, feedback: {horizon: 1h}}
  - {name: plain, match: {path: /plain}, split: {v4: 100%}}
"""
ONE = ROUTES.replace(
    "fraud, match: {path: /fraud}, split: {v3: 100%}, feedback: {horizon: 1h}",
    "fraud, match: {path: /fraud}, split: {v3: 100%}",
)
NONE = "routes:\n  - {name: plain, match: {path: /plain}, split: {v4: 100%}}\n"


class Intake:
    """`take` numbers its rows from 1."""

    def __init__(self, harness: Harness, logs: PredictionLogs) -> None:
        self.harness = harness
        self.logs = logs
        self.intake = FeedbackIntake(harness.controller.state, logs)

    @property
    def now(self) -> float:
        return self.harness.controller.state.wall

    async def predict(self, route: str, *ids: str) -> None:
        rows = [Predicted(one, self.now) for one in ids]
        await self.logs.write(route, lambda connection: add_predictions(connection, rows))

    async def take(self, *rows: Feedback) -> FeedbackAnswer:
        answer = FeedbackAnswer()
        await self.intake.take(list(enumerate(rows, 1)), answer)
        return answer

    async def values(self, route: str) -> Any:
        return await self.logs.read(route, values_of)

    async def pass_time(self, seconds: float) -> None:
        await self.harness.tick(seconds=seconds)
        self.intake.look()
        await self.intake.idle()


@asynccontextmanager
async def intake_of(folder: Path, routes: str) -> AsyncIterator[Intake]:
    harness, logs = Harness(), PredictionLogs(folder / "log")
    await harness.controller.load(loaded(routes, HEAD), "file", harness.now)
    await harness.tick()
    try:
        yield Intake(harness, logs)
    finally:
        await logs.close()
        harness.store.close()


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Intake]:
    async with intake_of(tmp_path, ROUTES) as intake:
        yield intake


def of(request_id: str, value: Any = 1, route: str = "", **more: Any) -> Feedback:
    return Feedback(request_id.encode(), more.pop("name", "label"), value, route, **more)


def counts(answer: FeedbackAnswer) -> dict[str, int]:
    names = ("accepted", "duplicate", "corrected", "conflicting", "unmatched", "late", "invalid")
    return {name: n for name in names if (n := getattr(answer, name))}


async def test_a_row_without_a_route_goes_to_the_log_that_has_its_prediction(both: Intake) -> None:
    await both.predict("churn", "c1", "both")
    await both.predict("fraud", "f1", "both")
    answer = await both.take(of("f1"), of("c1"), of("both"), of("both", 0, "fraud"), of("c1", 1, "fraud"))
    assert counts(answer) == {"accepted": 3, "invalid": 1, "unmatched": 1}
    assert [(e.row, e.detail) for e in answer.errors] == [
        (3, "this request_id was on several routes: name churn or fraud")
    ]
    assert await both.values("churn") == {("c1", "label"): 1}
    assert await both.values("fraud") == {("f1", "label"): 1, ("both", "label"): 0}
    assert both.intake.counts["fraud", "label", "accepted"] == 2
    assert both.intake.counts["", "", "invalid"] == 1
    assert both.intake.delays["fraud", "label"].count == 2


async def test_a_row_of_an_unknown_route_is_refused_alone(both: Intake) -> None:
    await both.predict("churn", "c1")
    answer = await both.take(
        of("c1", route="chrun"), of("c1", route="plain"), of("c1"), of("c1", at=both.now + 100)
    )
    assert counts(answer) == {"accepted": 1, "invalid": 3}
    assert [e.detail for e in answer.errors] == [
        "no route is called chrun; did you mean churn?",
        "route plain has no `feedback` in the configuration",
        "at lies in the future; it is in seconds since the epoch",
    ]


async def test_without_a_route_with_feedback_every_row_is_refused(tmp_path: Path) -> None:
    async with intake_of(tmp_path, NONE) as intake:
        answer = await intake.take(of("c1"))
        assert answer.errors[0].detail == "no route has `feedback` in the configuration"
        assert not (tmp_path / "log").exists()


async def test_refusals_say_why(both: Intake) -> None:
    await both.predict("churn", "c1", "c2")
    await both.take(of("c1", 1))
    await both.pass_time(700)
    assert counts(answer := await both.take(of("c1", 1), of("c1", 0))) == {"duplicate": 1, "conflicting": 1}
    assert (
        answer.errors[0].detail == "conflicting: another value came before, and it can no longer be corrected"
    )
    await both.pass_time(2900)
    answer = await both.take(of("c2", route="churn"))
    assert [(e.row, e.detail) for e in answer.errors] == [
        (1, "late: the prediction is 1h old, and feedback counts for 1h only")
    ]
    assert both.intake.counts["churn", "label", "late"] == 1


async def test_a_row_waits_for_its_prediction_in_every_log_where_it_names_none(both: Intake) -> None:
    assert counts(await both.take(of("f1"), of("x1"))) == {"unmatched": 2}
    await both.predict("fraud", "f1")
    await both.pass_time(1.0)
    assert await both.values("fraud") == {("f1", "label"): 1}
    assert both.intake.counts["fraud", "label", "accepted"] == 1
    assert both.intake.counts["", "label", "unmatched"] == 2
    await both.pass_time(WAIT)
    assert counts(await both.take(of("f1"))) == {"duplicate": 1}
    assert not any(key[2] == "expired" for key in both.intake.counts)
    assert await both.logs.read("churn", early_rows) == 0


async def test_a_row_that_waits_survives_the_process_and_expires(tmp_path: Path) -> None:
    async with intake_of(tmp_path, ONE) as first:
        await first.take(of("c1"), of("c2", name="click"))
    async with intake_of(tmp_path, ONE) as second:
        await second.predict("churn", "c1")
        await second.pass_time(1.0)
        assert await second.values("churn") == {("c1", "label"): 1}
        await second.pass_time(WAIT)
        assert second.intake.counts == {("churn", "label", "accepted"): 1, ("churn", "click", "expired"): 1}


async def test_a_log_is_not_asked_while_nothing_waits(both: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    await both.predict("churn", "c1")
    await both.pass_time(1.0)
    asked = []
    monkeypatch.setattr(both.intake, "_join", lambda *of_route: asked.append(of_route))
    await both.pass_time(5.0)
    assert asked == []


async def test_names_beyond_the_first_are_counted_together(both: Intake) -> None:
    await both.predict("churn", "c1")
    await both.take(*(of("c1", 1, "churn", name=f"n{i}") for i in range(MOST_NAMES + 7)))
    assert both.intake.counts["churn", OTHER, "accepted"] == 7
    assert len(both.intake.counts) == len(both.intake.delays) == MOST_NAMES + 1


class FullDisk(PredictionLogs):
    """Writes fail while it is full."""

    is_full = True

    async def write(self, route: str, work: Work[Any]) -> Any:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        return await super().write(route, work)


async def test_a_full_disk_refuses_rows_and_keeps_those_that_wait(tmp_path: Path) -> None:
    async with intake_of(tmp_path, ONE) as intake:
        await intake.predict("churn", "c1")
        await intake.take(of("c2"))
        full = intake.intake.logs = FullDisk(tmp_path / "log")
        answer = FeedbackAnswer()
        with pytest.raises(Unwritten, match="disk is full"):
            await intake.intake.take([(1, of("c1"))], answer)
        await intake.pass_time(1.0)  # what waits cannot be joined
        assert answer.rows == 0 and await intake.values("churn") == {}
        full.is_full = False
        await intake.predict("churn", "c2")
        await intake.pass_time(1.0)
        assert counts(await intake.take(of("c1"), of("c2"))) == {"accepted": 1, "duplicate": 1}
        await full.close()


async def test_a_key_is_hashed_as_the_router_does_and_a_renamed_route_keeps_its_hash(tmp_path: Path) -> None:
    async with intake_of(tmp_path, ONE) as intake:
        renamed = ONE.replace("{name: churn,", "{name: leavers, renamed_from: churn,")
        for route, routes in (("churn", ONE), ("leavers", renamed)):
            await intake.harness.controller.load(loaded(routes, HEAD), "file", intake.harness.now)
            row = Predicted("c1", intake.now, "ann")
            await intake.logs.write(route, lambda connection, row=row: add_predictions(connection, [row]))  # type: ignore[misc]
            await intake.pass_time(20.0)
            at = intake.now - 15.0
            assert counts(await intake.take(Feedback(b"", "label", 1, route, b"ann", at))) == {"accepted": 1}
            assert await intake.values(route) == {("c1", "label"): 1}


async def test_a_file_that_cannot_grow_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    """SQLite itself says that the disk is full, in the midst of a chunk or at its end."""
    async with intake_of(tmp_path, ONE) as intake:
        await intake.predict("churn", *(f"c{i}" for i in range(2000)))
        (pages,) = await intake.logs.write("churn", lambda c: c.execute("PRAGMA page_count").fetchone())
        await intake.logs.write(
            "churn", lambda c: c.execute(f"PRAGMA max_page_count = {pages + 6}").fetchone()
        )
        taken = 0
        with pytest.raises(Unwritten, match="full"):
            for start in range(0, 2000, 100):
                rows = [of(f"c{i}") for i in range(start, start + 100)]
                taken += counts(await intake.take(*rows))["accepted"]
        assert 0 < taken < 2000
        assert len(await intake.values("churn")) == taken
        await intake.logs.write("churn", lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
        answer = await intake.take(*(of(f"c{i}") for i in range(2000)))
        assert counts(answer) == {"duplicate": taken, "accepted": 2000 - taken}


async def test_a_disk_that_hangs_refuses_rows_in_time(both: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_intake, "PATIENCE", 0.05)
    await both.predict("churn", "c1")
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(connection: sqlite3.Connection) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    hanging = asyncio.ensure_future(both.logs.write("churn", hang))
    await asyncio.sleep(0)  # it is in the writing thread
    with pytest.raises(Unwritten, match="slow"):
        await both.take(of("c1", route="churn"))
    release.set()
    await hanging
    assert await both.values("churn") == {}  # the rows that were refused are not written later
    assert counts(await both.take(of("c1"))) == {"accepted": 1}
