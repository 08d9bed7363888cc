"""Law 3: exposure rises only after the decision is on disk; it falls without waiting for the disk."""

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
from tests.tries import tries

from .harness import CANARY, Harness, rows_of


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
def harness():
    with closing(Store.open("sqlite::memory:")) as store:
        store.connection = Disk(store.connection)  # type: ignore[assignment]  # it has what the store uses
        yield Harness(store)


def set_full(harness: Harness, full: bool = True) -> None:
    harness.store.connection.full = full  # type: ignore[attr-defined]  # a Disk


async def test_a_step_is_not_taken_while_it_cannot_be_written(harness):
    await harness.load()
    await harness.run(3)
    set_full(harness)
    await harness.run(30)
    assert (harness.rollout.step, harness.weights) == (0, {"v2": 9500, "v3": 500})
    assert harness.rollout.waiting_for.startswith("the state to be writable: :memory:: cannot write")
    assert not harness.views.status(harness.now).store_ok
    assert await harness.actions() == ["start", "begin"]
    set_full(harness, False)
    await harness.run(1)
    assert (harness.rollout.step, harness.weights) == (1, {"v2": 5000, "v3": 5000})
    assert harness.views.status(harness.now).store_ok


async def test_an_abort_acts_on_a_full_disk_and_is_written_later(harness):
    await harness.load()
    await harness.run(3)
    set_full(harness)
    harness.error_share = {"v3": 1.0}
    await harness.run(2)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    assert await harness.actions() == ["start", "begin", "abort"]
    assert [d.action for d in harness.store.decisions(None, 0, 9)] == ["start", "begin"]
    set_full(harness, False)
    await harness.run(2)
    assert [d.action for d in harness.store.decisions(None, 0, 9)] == ["start", "begin", "abort"]
    assert first_broken(journal(harness.store)) is None
    rollout = harness.store.records()["churn"][0].rollouts["v3"]
    assert rollout is not None
    assert rollout.phase == "aborted"


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.ABORT, Verb.PAUSE])
async def test_a_command_that_raises_exposure_is_refused_on_a_full_disk(harness, verb):
    await harness.load()
    await harness.run(3)
    set_full(harness)
    if verb is Verb.PROMOTE:
        with pytest.raises(Refused, match="exposure does not rise while the state cannot be written"):
            await harness.controller.command("churn", verb, "api:kim", harness.now)
        assert (harness.rollout.phase, harness.weights) == ("progressing", {"v2": 9500, "v3": 500})
    else:
        view = await harness.controller.command("churn", verb, "api:kim", harness.now)
        assert view.phase in ("aborted", "paused")


async def test_a_split_and_a_reload_are_refused_and_change_nothing(harness):
    plain = CANARY[: CANARY.index("    rollout:")]
    await harness.load(plain)
    set_full(harness)
    with pytest.raises(Refused, match="the split stays as it is"):
        await harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", harness.now)
    with pytest.raises(Refused, match="the configuration is not loaded"):
        await harness.load(plain.replace("split: {v2: 100%}", "split: {v3: 100%}"))
    assert (harness.weights, harness.views.route("churn").split) == ({"v2": 10_000}, {"v2": 1.0})
    generation = harness.controller.state.generation
    await harness.load(plain)  # what decides nothing needs no disk
    assert harness.controller.state.generation == generation + 1


async def test_a_read_only_database_holds_the_rollout(harness):
    await harness.load()
    await harness.run(3)
    harness.store.connection.execute("PRAGMA query_only = ON")
    await harness.run(20)
    assert (harness.rollout.step, harness.views.status(harness.now).store_ok) == (0, False)
    harness.store.connection.execute("PRAGMA query_only = OFF")
    await harness.run(20)
    assert harness.rollout.step == 1


async def test_subscribers_get_the_loss_and_the_return_of_the_store(harness):
    await harness.load()
    await harness.run(1)
    with harness.controller.feed.subscribe() as events:
        for full in (True, False):
            set_full(harness, full)
            await harness.run(2)
        heard = [await anext(events), await anext(events)]
    assert [isinstance(e, StatusChange) and e.what for e in heard] == ["store", "store"]


def on_disk(store: Store) -> dict[str, int]:
    record, _ = store.records()["churn"]
    return record.ledger.weights


async def test_a_rise_is_on_disk_before_it_is_published_and_a_fall_after(harness):
    await harness.load()
    trail: list[tuple[int, int]] = []
    harness.seam.on_publish = lambda snapshot: trail.append(
        (snapshot.routes[0].ledger.weights.get("v3", 0), on_disk(harness.store).get("v3", 0))
    )
    await harness.run(14)
    harness.error_share = {"v3": 1.0}
    await harness.run(2)
    assert trail == [(500, 500), (5000, 5000), (0, 5000)]


async def test_a_decision_that_is_not_on_disk_yet_is_replayed(harness):
    await harness.load()
    await harness.run(2)
    set_full(harness, True)
    await harness.controller.command("churn", Verb.PAUSE, "api:kim", harness.now)
    decisions = await harness.decisions()
    assert decisions[-1].action == "pause"
    assert not replayed(rows_of(decisions)).differences


class ExposureNeverExceedsTheJournal(RuleBasedStateMachine):
    """Any order of ticks, errors, full disks, commands and kills of the control process."""

    @initialize()
    def start(self):
        self.runner = asyncio.Runner(debug=False)
        store = Store.open("sqlite::memory:")
        store.connection = Disk(store.connection)  # type: ignore[assignment]  # it has what the store uses
        self.harness = Harness(store)
        self.act(self.harness.load())
        self.watch()

    def watch(self) -> None:
        self.raised: list[tuple[int, int]] = []
        harness, before = self.harness, [0]

        def look(snapshot) -> None:
            published = snapshot.routes[0].ledger.weights.get("v3", 0)
            if published > before[0]:
                self.raised.append((published, on_disk(harness.store).get("v3", 0)))
            before[0] = published

        harness.seam.on_publish = look

    def act(self, coroutine) -> None:
        async def ended() -> None:
            try:
                await coroutine
            finally:
                await self.harness.controller.idle()

        self.runner.run(ended())

    @rule(ticks=st.integers(1, 15), bad=st.sampled_from([0.0, 0.0, 0.0, 0.5]))
    def serve(self, ticks, bad):
        self.harness.error_share = {"v3": bad}
        self.act(self.harness.run(ticks))

    @rule(full=st.booleans())
    def disk(self, full):
        set_full(self.harness, full)

    @rule(verb=st.sampled_from(Verb))
    def command(self, verb):
        with suppress(Refused):
            self.act(self.harness.controller.command("churn", verb, "api:kim", self.harness.now))

    @rule()
    def kill_and_restart(self):
        harness = self.harness
        set_full(harness, False)
        journal = on_disk(harness.store)
        self.harness = Harness(harness.store)
        self.harness.now = harness.now
        self.act(self.harness.load())
        assert self.harness.route.ledger.weights == journal
        self.watch()

    @invariant()
    def each_rise_was_on_disk(self):
        if hasattr(self, "harness"):
            assert all(published == written for published, written in self.raised)
            ended = self.harness.rollout.phase in ("aborted", "rolled_back")
            assert not (ended and self.harness.weights.get("v3"))
            assert first_broken(journal(self.harness.store)) is None

    def teardown(self):
        if hasattr(self, "harness"):
            report = replayed(rows_of(self.runner.run(self.harness.decisions())))
            assert not report.differences  # law 12, over all those orders of events
            self.runner.close()
            self.harness.store.close()


def test_law_three():
    run_state_machine_as_test(
        ExposureNeverExceedsTheJournal,
        settings=settings(max_examples=tries(30), stateful_step_count=15, deadline=None),
    )
