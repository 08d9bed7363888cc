"""A tick waits for nothing: neither a worker that hangs nor a slow disk delays what other routes need."""

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
from .scene import CANARY, Scene, rows_of

TWO = CANARY + CANARY.partition("routes:\n")[2].replace("churn", "fraud").replace("/predict", "/fraud")
T = TypeVar("T")

FUSE = 10  # errors in a row (the default)


@pytest.fixture
def store(tmp_path):
    with gated_store(tmp_path) as made:
        yield made


def share(scene: Scene, route: str) -> int:
    """The challenger's, as it was published last."""
    found = {r.name: r for r in scene.seam.published[-1].routes}
    return found[route].ledger.weights.get("v3", 0)


def fail(scene: Scene, route: str, n: int = 2 * FUSE) -> None:
    """So many errors of the challenger, reported by the workers."""
    version = scene.controller.state.routes[route].record.ledger.version
    cell = Cell(route, "v3", "challenger", version, requests=n, errors=n, codes={500: n}, recent=[True] * n)
    scene.seam.counts.cells.append(cell)


def assert_exact(store: Store) -> None:
    """The chain holds, and each decision comes out again."""
    assert first_broken(journal(store)) is None
    assert replayed(journal(store)).differences == []


async def both_at_the_first_step(store: Store) -> Scene:
    scene = Scene(store)
    await scene.load(TWO)
    await scene.run(2, requests=0)
    assert (share(scene, "churn"), share(scene, "fraud")) == (500, 500)
    return scene


def look(scene: Scene) -> None:
    """A tick, without waiting for anything."""
    scene.now += 1
    scene.controller.tick(scene.now)


async def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


async def test_a_worker_that_never_acknowledges_delays_no_other_route(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    scene.seam.acknowledging = False
    aborting = await begin(scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now))
    await scene.controller.idle()
    assert share(scene, "churn") == 0
    assert not aborting.done()  # it answers when all workers have it
    fail(scene, "fraud")
    look(scene)
    assert share(scene, "fraud") == 0
    scene.seam.acknowledge()
    assert (await aborting).phase == "aborted"


async def test_a_split_answers_when_all_workers_have_it(store: GatedStore) -> None:
    scene = Scene(store)
    await scene.load(CANARY[: CANARY.index("    rollout:")])
    scene.seam.acknowledging = False
    putting = await begin(scene.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", scene.now))
    await scene.controller.idle()
    assert share(scene, "churn") == 5000
    assert not putting.done()
    scene.seam.acknowledge()
    assert (await putting).split == {"v2": 0.5, "v3": 0.5}


async def test_a_slow_disk_delays_a_rise_and_no_fall_of_another_route(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    store.gate.clear()
    promoting = await begin(scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now))
    await store.reach_gate()
    fail(scene, "fraud")
    look(scene)
    assert share(scene, "fraud") == 0
    assert share(scene, "churn") == 500  # not before the decision is on disk
    store.gate.set()
    await promoting
    await scene.controller.idle()
    assert share(scene, "churn") == 10_000
    decisions = await scene.decisions()
    assert [(d.route, d.action) for d in decisions[-2:]] == [("churn", "promote"), ("fraud", "abort")]
    assert rows_of(decisions) == list(journal(store))
    assert_exact(store)


async def test_a_rise_of_the_loop_waits_for_the_disk_beside_the_ticks(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    await scene.controller.command("churn", Verb.RETRY, "api:kim", scene.now)
    await scene.controller.idle()
    store.gate.clear()
    look(scene)  # the first step of another attempt
    await store.reach_gate()
    look(scene)
    assert share(scene, "churn") == 0
    store.gate.set()
    await scene.controller.idle()
    assert share(scene, "churn") == 500
    assert (await scene.actions()).count("begin") == 3


async def test_endpoints_that_go_down_are_published_while_the_disk_is_slow(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    store.gate.clear()
    promoting = await begin(scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now))
    await store.reach_gate()
    scene.controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), scene.now)
    assert not scene.seam.published[-1].backends["v4"].endpoints[0].up
    store.gate.set()
    await promoting


async def test_saving_evidence_does_not_stop_the_loop(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    await scene.controller.idle()
    store.gate.clear()
    look(scene)
    await store.reach_gate()  # the loop runs on while the save waits for the disk
    fail(scene, "fraud")
    look(scene)
    assert share(scene, "fraud") == 0


async def test_counts_that_come_while_a_route_is_being_written_are_not_lost(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    store.gate.clear()
    pausing = await begin(scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now))
    await store.reach_gate()
    scene.count("v3", 70, 0)
    look(scene)
    assert scene.views.route("churn").backends["v3"].requests == 70
    store.gate.set()
    await pausing
    look(scene)
    assert (
        sum(s.challenger.requests for s in scene.controller.state.routes["churn"].evidence["v3"].strata) == 70
    )


async def test_a_command_whose_caller_leaves_is_carried_out(store: GatedStore) -> None:
    scene = await both_at_the_first_step(store)
    store.gate.clear()
    promoting = await begin(scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now))
    await store.reach_gate()
    promoting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await promoting
    store.gate.set()
    await scene.controller.idle()
    assert (share(scene, "churn"), scene.views.rollout("churn", scene.now).phase) == (10_000, "promoted")
    assert (await scene.actions())[-1] == "promote"
    assert_exact(store)


async def next_life(scene: Scene, directory: Path) -> Scene:
    """The process is killed: nothing more of it is written, and another one opens what is on disk."""
    other = Scene(Store.open(f"sqlite:{directory}/state.db"))
    other.now = scene.now
    await other.load(TWO)
    return other


async def test_a_kill_before_a_rise_is_on_disk_leaves_the_exposure_as_it_was(
    store: GatedStore, tmp_path: Path
) -> None:
    scene = await both_at_the_first_step(store)
    await scene.controller.idle()
    store.gate.clear()
    promoting = await begin(scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now))
    await store.reach_gate()
    other = await next_life(scene, tmp_path)
    assert share(other, "churn") == share(scene, "churn") == 500
    store.broken = True
    store.gate.set()
    with pytest.raises(Exception, match="exposure does not rise"):
        await promoting


async def test_a_kill_before_a_fall_is_on_disk_begins_from_the_journal(
    store: GatedStore, tmp_path: Path
) -> None:
    """The fall had acted: the next life decides it again, from evidence of its own."""
    scene = await both_at_the_first_step(store)
    await scene.controller.idle()
    store.gate.clear()
    fail(scene, "fraud")
    look(scene)
    assert share(scene, "fraud") == 0
    await store.reach_gate()
    other = await next_life(scene, tmp_path)
    assert share(other, "fraud") == 500
    fail(other, "fraud")
    await other.tick()
    assert share(other, "fraud") == 0
    await other.controller.idle()
    assert_exact(other.store)
    store.broken = True
    store.gate.set()
    await scene.controller.idle()


async def test_a_kill_between_the_disk_and_the_workers_begins_with_the_rise(
    store: GatedStore, tmp_path: Path
) -> None:
    scene = await both_at_the_first_step(store)

    def killed(snapshot: Snapshot) -> None:
        raise RuntimeError("killed")

    scene.seam.before = killed
    with pytest.raises(RuntimeError, match="killed"):
        await scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now)
    assert share(scene, "churn") == 500
    other = await next_life(scene, tmp_path)
    assert share(other, "churn") == 10_000
    assert (await other.decisions("churn"))[-1].action == "promote"


async def test_the_end_writes_what_is_owed_and_the_evidence(store: GatedStore, tmp_path: Path) -> None:
    scene = await both_at_the_first_step(store)
    await scene.tick(2000, seconds=0.1)
    store.broken = True
    await scene.controller.command("fraud", Verb.ABORT, "api:kim", scene.now)
    await scene.controller.idle()
    store.broken = False
    await scene.controller.close()
    store.close()
    other = await next_life(scene, tmp_path)
    assert (await other.decisions("fraud"))[-1].action == "abort"
    assert other.views.rollout("churn", other.now).verdicts[0].n == 100
