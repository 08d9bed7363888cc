"""Law 3: exposure rises only after the decision is on disk, and falls whether it is there or not."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crossfade.control.chain import first_broken
from crossfade.control.refusal import Refused
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb

from .scene import CANARY, Scene, rows_of


class Disk:
    """A connection whose writes fail while it is `full`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.full = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if self.full and sql.startswith("BEGIN"):
            raise sqlite3.OperationalError("database or disk is full")
        return self.connection.execute(sql, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def __enter__(self) -> sqlite3.Connection:
        return self.connection.__enter__()

    def __exit__(self, *why: Any) -> Any:
        return self.connection.__exit__(*why)


@pytest.fixture
def scene():
    with closing(Store.open("sqlite::memory:")) as store:
        store.connection = Disk(store.connection)  # type: ignore[assignment]  # it has what the store uses
        yield Scene(store)


def fill(scene: Scene, full: bool = True) -> None:
    scene.store.connection.full = full  # type: ignore[attr-defined]  # a Disk


async def test_a_step_is_not_taken_while_it_cannot_be_written(scene):
    await scene.load()
    await scene.run(3)
    fill(scene)
    await scene.run(30)
    assert (scene.rollout.step, scene.weights) == (0, {"v2": 9500, "v3": 500})
    assert scene.rollout.waiting_for.startswith("the state to be writable: :memory:: cannot write")
    assert not scene.views.status(scene.now).store_ok
    assert await scene.actions() == ["start", "begin"]
    fill(scene, False)
    await scene.run(1)
    assert (scene.rollout.step, scene.weights) == (1, {"v2": 5000, "v3": 5000})
    assert scene.views.status(scene.now).store_ok


async def test_an_abort_happens_all_the_same_and_is_written_later(scene):
    await scene.load()
    await scene.run(3)
    fill(scene)
    scene.bad = {"v3": 1.0}
    await scene.run(2)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})
    assert await scene.actions() == ["start", "begin", "abort"]
    assert [d.action for d in scene.store.decisions(None, 0, 9)] == ["start", "begin"]
    fill(scene, False)
    await scene.run(2)
    assert [d.action for d in scene.store.decisions(None, 0, 9)] == ["start", "begin", "abort"]
    assert first_broken(journal(scene.store)) is None
    rollout = scene.store.records()["churn"][0].rollouts["v3"]
    assert rollout is not None
    assert rollout.phase == "aborted"


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.ABORT, Verb.PAUSE])
async def test_an_operator_is_told_when_exposure_cannot_rise(scene, verb):
    await scene.load()
    await scene.run(3)
    fill(scene)
    if verb is Verb.PROMOTE:
        with pytest.raises(Refused, match="exposure does not rise while the state cannot be written"):
            await scene.controller.command("churn", verb, "api:kim", scene.now)
        assert (scene.rollout.phase, scene.weights) == ("progressing", {"v2": 9500, "v3": 500})
    else:
        view = await scene.controller.command("churn", verb, "api:kim", scene.now)
        assert view.phase in ("aborted", "paused")


async def test_a_split_and_a_reload_are_refused_and_change_nothing(scene):
    plain = CANARY[: CANARY.index("    rollout:")]
    await scene.load(plain)
    fill(scene)
    with pytest.raises(Refused, match="the split stays as it is"):
        await scene.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", scene.now)
    with pytest.raises(Refused, match="the configuration is not loaded"):
        await scene.load(plain.replace("split: {v2: 100%}", "split: {v3: 100%}"))
    assert (scene.weights, scene.views.route("churn").split) == ({"v2": 10_000}, {"v2": 1.0})
    generation = scene.controller.state.generation
    await scene.load(plain)  # what decides nothing needs no disk
    assert scene.controller.state.generation == generation + 1


async def test_a_read_only_database_is_no_writable_one(scene):
    await scene.load()
    await scene.run(3)
    scene.store.connection.execute("PRAGMA query_only = ON")
    await scene.run(20)
    assert (scene.rollout.step, scene.views.status(scene.now).store_ok) == (0, False)
    scene.store.connection.execute("PRAGMA query_only = OFF")
    await scene.run(20)
    assert scene.rollout.step == 1


async def test_listeners_hear_that_the_state_cannot_be_written_and_that_it_can(scene):
    await scene.load()
    await scene.run(1)
    with scene.controller.feed.subscribe() as events:
        for full in (True, False):
            fill(scene, full)
            await scene.run(2)
        heard = [await anext(events), await anext(events)]
    assert [isinstance(e, StatusChange) and e.what for e in heard] == ["store", "store"]


def on_disk(store: Store) -> dict[str, int]:
    record, _ = store.records()["churn"]
    return record.ledger.weights


async def test_the_disk_is_ahead_of_each_rise_and_behind_each_fall(scene):
    await scene.load()
    trail: list[tuple[int, int]] = []
    scene.seam.before = lambda snapshot: trail.append(
        (snapshot.routes[0].ledger.weights.get("v3", 0), on_disk(scene.store).get("v3", 0))
    )
    await scene.run(14)
    scene.bad = {"v3": 1.0}
    await scene.run(2)
    assert trail == [(500, 500), (5000, 5000), (0, 5000)]


async def test_a_decision_that_waits_for_the_disk_replays_as_well(scene):
    await scene.load()
    await scene.run(2)
    fill(scene, True)
    await scene.controller.command("churn", Verb.PAUSE, "api:kim", scene.now)
    decisions = await scene.decisions()
    assert decisions[-1].action == "pause"
    assert not replayed(rows_of(decisions)).differences


class ExposureNeverExceedsTheJournal(RuleBasedStateMachine):
    """Any order of ticks, faults, disks, commands and deaths of the control process."""

    @initialize()
    def start(self):
        self.runner = asyncio.Runner()
        store = Store.open("sqlite::memory:")
        store.connection = Disk(store.connection)  # type: ignore[assignment]  # it has what the store uses
        self.scene = Scene(store)
        self.act(self.scene.load())
        self.watch()

    def watch(self) -> None:
        self.raised: list[tuple[int, int]] = []
        scene, before = self.scene, [0]

        def look(snapshot) -> None:
            published = snapshot.routes[0].ledger.weights.get("v3", 0)
            if published > before[0]:
                self.raised.append((published, on_disk(scene.store).get("v3", 0)))
            before[0] = published

        scene.seam.before = look

    def act(self, coroutine) -> None:
        async def ended() -> None:
            try:
                await coroutine
            finally:
                await self.scene.controller.idle()

        self.runner.run(ended())

    @rule(ticks=st.integers(1, 15), bad=st.sampled_from([0.0, 0.0, 0.0, 0.5]))
    def serve(self, ticks, bad):
        self.scene.bad = {"v3": bad}
        self.act(self.scene.run(ticks))

    @rule(full=st.booleans())
    def disk(self, full):
        fill(self.scene, full)

    @rule(verb=st.sampled_from(Verb))
    def say(self, verb):
        with suppress(Refused):
            self.act(self.scene.controller.command("churn", verb, "api:kim", self.scene.now))

    @rule()
    def die_and_start_again(self):
        scene = self.scene
        fill(scene, False)
        journal = on_disk(scene.store)
        self.scene = Scene(scene.store)
        self.scene.now = scene.now
        self.act(self.scene.load())
        assert self.scene.route.ledger.weights == journal
        self.watch()

    @invariant()
    def each_rise_was_on_disk(self):
        if hasattr(self, "scene"):
            assert all(published == written for published, written in self.raised)
            ended = self.scene.rollout.phase in ("aborted", "rolled_back")
            assert not (ended and self.scene.weights.get("v3"))
            assert first_broken(journal(self.scene.store)) is None

    def teardown(self):
        if hasattr(self, "scene"):
            report = replayed(rows_of(self.runner.run(self.scene.decisions())))
            assert not report.differences  # law 12, over all those orders of events
            self.runner.close()
            self.scene.store.close()


def test_law_three():
    run_state_machine_as_test(
        ExposureNeverExceedsTheJournal,
        settings=settings(max_examples=30, stateful_step_count=15, deadline=None),
    )
