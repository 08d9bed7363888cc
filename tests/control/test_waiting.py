"""A tick waits for nothing: a worker that hangs and a slow disk delay no decision of another route."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from crossfade.control.chain import first_broken
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Cell

from .gated_store import GatedStore, gated_store
from .harness import CANARY, Harness, rows_of

TWO = CANARY + CANARY.partition("routes:\n")[2].replace("churn", "fraud").replace("/predict", "/fraud")
T = TypeVar("T")

FUSE = 10  # errors in a row (the default)


@pytest.fixture
def store(tmp_path):
    with gated_store(tmp_path) as made:
        yield made


def weight(harness: Harness, route: str) -> int:
    """The challenger's weight in the last snapshot."""
    found = {r.name: r for r in harness.seam.published[-1].routes}
    return found[route].ledger.weights.get("v3", 0)


def report_errors(harness: Harness, route: str, n: int = 2 * FUSE) -> None:
    """`n` errors of the challenger, reported by the workers."""
    version = harness.controller.state.routes[route].record.ledger.version
    cell = Cell(route, "v3", "challenger", version, requests=n, errors=n, codes={500: n}, recent=[1] * n)
    harness.seam.counts.cells.append(cell)


def assert_replayed(store: Store) -> None:
    """The hash chain is whole, and a replay has no difference."""
    assert first_broken(journal(store)) is None
    assert replayed(journal(store)).differences == []


async def both_at_the_first_step(store: Store) -> Harness:
    harness = Harness(store)
    await harness.load(TWO)
    await harness.run(2, requests=0)
    assert (weight(harness, "churn"), weight(harness, "fraud")) == (500, 500)
    return harness


def tick_without_waiting(harness: Harness) -> None:
    harness.now += 1
    harness.controller.tick(harness.now)


async def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


async def test_a_worker_that_never_acknowledges_delays_no_other_route(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    harness.seam.acknowledging = False
    aborting = await begin(harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now))
    await harness.controller.idle()
    assert weight(harness, "churn") == 0
    assert not aborting.done()  # it answers when all workers have it
    report_errors(harness, "fraud")
    tick_without_waiting(harness)
    assert weight(harness, "fraud") == 0
    harness.seam.acknowledge()
    assert (await aborting).phase == "aborted"


async def test_a_split_answers_when_all_workers_have_it(store: GatedStore) -> None:
    harness = Harness(store)
    await harness.load(CANARY[: CANARY.index("    rollout:")])
    harness.seam.acknowledging = False
    putting = await begin(harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", harness.now))
    await harness.controller.idle()
    assert weight(harness, "churn") == 5000
    assert not putting.done()
    harness.seam.acknowledge()
    assert (await putting).split == {"v2": 0.5, "v3": 0.5}


async def test_a_slow_disk_delays_a_rise_and_no_fall_of_another_route(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    store.gate.clear()
    promoting = await begin(harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now))
    await store.reach_gate()
    report_errors(harness, "fraud")
    tick_without_waiting(harness)
    assert weight(harness, "fraud") == 0
    assert weight(harness, "churn") == 500  # not before the decision is on disk
    store.gate.set()
    await promoting
    await harness.controller.idle()
    assert weight(harness, "churn") == 10_000
    decisions = await harness.decisions()
    assert [(d.route, d.action) for d in decisions[-2:]] == [("churn", "promote"), ("fraud", "abort")]
    assert rows_of(decisions) == list(journal(store))
    assert_replayed(store)


async def test_ticks_go_on_while_a_rise_waits_for_the_disk(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.controller.idle()
    store.gate.clear()
    tick_without_waiting(harness)  # the first step of another attempt
    await store.reach_gate()
    tick_without_waiting(harness)
    assert weight(harness, "churn") == 0
    store.gate.set()
    await harness.controller.idle()
    assert weight(harness, "churn") == 500
    assert (await harness.actions()).count("begin") == 3


async def test_endpoints_that_go_down_are_published_while_the_disk_is_slow(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    store.gate.clear()
    promoting = await begin(harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now))
    await store.reach_gate()
    harness.controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), harness.now)
    assert not harness.seam.published[-1].backends["v4"].endpoints[0].up
    store.gate.set()
    await promoting


async def test_saving_evidence_does_not_stop_the_loop(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    await harness.controller.idle()
    store.gate.clear()
    tick_without_waiting(harness)
    await store.reach_gate()  # the loop runs on while the save waits for the disk
    report_errors(harness, "fraud")
    tick_without_waiting(harness)
    assert weight(harness, "fraud") == 0


async def test_counts_that_come_while_a_route_is_being_written_are_not_lost(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    store.gate.clear()
    pausing = await begin(harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now))
    await store.reach_gate()
    harness.add_counts("v3", 70, 0)
    tick_without_waiting(harness)
    assert harness.views.route("churn").backends["v3"].requests == 70
    store.gate.set()
    await pausing
    tick_without_waiting(harness)
    assert (
        sum(s.challenger.requests for s in harness.controller.state.routes["churn"].evidence["v3"].strata)
        == 70
    )


async def test_a_command_whose_caller_leaves_is_carried_out(store: GatedStore) -> None:
    harness = await both_at_the_first_step(store)
    store.gate.clear()
    promoting = await begin(harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now))
    await store.reach_gate()
    promoting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await promoting
    store.gate.set()
    await harness.controller.idle()
    assert (weight(harness, "churn"), harness.views.rollout("churn", harness.now).phase) == (
        10_000,
        "promoted",
    )
    assert (await harness.actions())[-1] == "promote"
    assert_replayed(store)


async def restarted(harness: Harness, directory: Path) -> Harness:
    """Another process that opens the state on disk, as after a kill."""
    other = Harness(Store.open(f"sqlite:{directory}/state.db"))
    other.now = harness.now
    await other.load(TWO)
    return other


async def test_a_kill_before_a_rise_is_on_disk_leaves_the_exposure_as_it_was(
    store: GatedStore, tmp_path: Path
) -> None:
    harness = await both_at_the_first_step(store)
    await harness.controller.idle()
    store.gate.clear()
    promoting = await begin(harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now))
    await store.reach_gate()
    other = await restarted(harness, tmp_path)
    assert weight(other, "churn") == weight(harness, "churn") == 500
    store.broken = True
    store.gate.set()
    with pytest.raises(Exception, match="exposure does not rise"):
        await promoting


async def test_a_kill_before_a_fall_is_on_disk_begins_from_the_journal(
    store: GatedStore, tmp_path: Path
) -> None:
    """The fall had acted; the next process decides it again, from its own evidence."""
    harness = await both_at_the_first_step(store)
    await harness.controller.idle()
    store.gate.clear()
    report_errors(harness, "fraud")
    tick_without_waiting(harness)
    assert weight(harness, "fraud") == 0
    await store.reach_gate()
    other = await restarted(harness, tmp_path)
    assert weight(other, "fraud") == 500
    report_errors(other, "fraud")
    await other.tick()
    assert weight(other, "fraud") == 0
    await other.controller.idle()
    assert_replayed(other.store)
    store.broken = True
    store.gate.set()
    await harness.controller.idle()


async def test_a_kill_between_the_disk_and_the_workers_begins_with_the_rise(
    store: GatedStore, tmp_path: Path
) -> None:
    harness = await both_at_the_first_step(store)

    def killed(snapshot: Snapshot) -> None:
        raise RuntimeError("killed")

    harness.seam.on_publish = killed
    with pytest.raises(RuntimeError, match="killed"):
        await harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now)
    assert weight(harness, "churn") == 500
    other = await restarted(harness, tmp_path)
    assert weight(other, "churn") == 10_000
    assert (await other.decisions("churn"))[-1].action == "promote"


async def test_the_end_writes_what_is_owed_and_the_evidence(store: GatedStore, tmp_path: Path) -> None:
    harness = await both_at_the_first_step(store)
    await harness.tick(2000, seconds=0.1)
    store.broken = True
    await harness.controller.command("fraud", Verb.ABORT, "api:kim", harness.now)
    await harness.controller.idle()
    store.broken = False
    await harness.controller.close()
    store.close()
    other = await restarted(harness, tmp_path)
    assert (await other.decisions("fraud"))[-1].action == "abort"
    assert other.views.rollout("churn", other.now).verdicts[0].n == 100
