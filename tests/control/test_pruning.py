"""Old decisions are deleted; the chain, the replay and the present state stay proven."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from crossfade.control import journal as journal_module
from crossfade.control import pruning
from crossfade.control.chain import Anchor
from crossfade.control.journal import Journal
from crossfade.control.replay import journal, replayed
from crossfade.control.seen import Meant
from crossfade.control.store import Store
from crossfade.control.views import Verb

from .harness import BOTH, HEAD, Harness

KEEP = HEAD + "journal: {keep: 100s}\n"
QUIET = BOTH.replace("churn", "quiet").replace("/predict", "/quiet").removeprefix("\nroutes:\n")


@pytest.fixture
def store(tmp_path):
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


async def decided(store: Store, head: str = HEAD) -> Harness:
    """Two routes, of which one has not changed since its rollouts began."""
    harness = Harness(store)
    await harness.load(BOTH + QUIET, head)
    await harness.run(3)
    for _ in range(6):
        for verb in (Verb.PAUSE, Verb.RESUME):
            await harness.controller.command("churn", verb, "api:kim", harness.now, meant=Meant("v3"))
            await harness.run(20, requests=0)
    return harness


async def prune(store: Store, before: float) -> None:
    await asyncio.to_thread(store.prune, before)


def ids(store: Store) -> list[int]:
    return [row.id for row in journal(store)]


async def test_old_decisions_go_and_the_last_of_each_route_and_rollout_stay(store):
    harness = await decided(store)
    before = {d.id: d for d in await harness.decisions()}
    last = {(d.route, d.to.get("challenger")): d.id for d in before.values()}
    end = len(before)
    cut = next(number for number in before if before[number].at >= harness.now - 100)
    await prune(store, harness.now - 100)
    assert ids(store) == sorted({*range(cut, end + 1), *last.values()})
    assert min(last.values()) < cut - 5
    deleted = max(number for number in range(1, cut) if number not in last.values())
    assert store.anchor() == Anchor(deleted, before[deleted].hash)
    await prune(store, harness.now - 100)
    assert len(ids(store)) == len(set(ids(store))) == end - cut + 1 + sum(i < cut for i in last.values())


async def test_the_chain_and_the_replay_begin_at_the_anchor(store, caplog):
    harness = await decided(store)
    await prune(store, harness.now - 100)
    report = replayed(journal(store), store.anchor())
    assert (report.differences, report.pruned) == ([], store.anchor().id)
    assert f"those up to {report.pruned} were pruned" in str(report)
    await harness.controller.command("quiet", Verb.ABORT, "api:kim", harness.now, meant=Meant("v3"))
    await harness.run(2)
    await prune(store, harness.now - 100)
    assert replayed(journal(store), store.anchor()).differences == []
    Journal(store)
    assert not caplog.records


async def test_a_deletion_that_was_not_ordered_is_found(store, caplog):
    harness = await decided(store)
    await prune(store, harness.now - 100)
    first = store.anchor().id + 1
    while first not in ids(store):
        first += 1
    await asyncio.to_thread(store.connection.execute, "DELETE FROM decisions WHERE id = ?", (first + 1,))
    found = replayed(journal(store), store.anchor()).differences
    assert (found[0].id, found[0].what) == (first + 2, "previous_hash")
    Journal(store)
    assert "hash chain broken" in caplog.text


async def test_everything_old_leaves_the_last_decisions(store, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 3)
    harness = await decided(store)
    last = {(d.route, d.to.get("challenger")): d.id for d in await harness.decisions()}
    sizes = []
    for _ in range(10):
        await prune(store, harness.now + 1e9)
        sizes.append(len(ids(store)))
    assert sizes[0] - sizes[1] == 3
    assert ids(store) == sorted(last.values())
    assert replayed(journal(store), store.anchor()).differences == []
    again = Harness(store)
    again.now = harness.now
    await again.load(BOTH + QUIET)
    await again.controller.command("churn", Verb.ABORT, "api:kim", again.now, meant=Meant("v3"))
    await again.controller.idle()
    assert replayed(journal(store), store.anchor()).differences == []


@pytest.mark.parametrize(("head", "pruned"), [(HEAD, False), (KEEP, True)])
async def test_the_health_loop_prunes_what_the_file_asks_for(store, monkeypatch, head, pruned):
    monkeypatch.setattr(journal_module, "PRUNE_INTERVAL", 0.0)
    harness = await decided(store, head)
    await harness.run(2, requests=0)
    assert (store.anchor().id > 0) == pruned
    assert harness.views.store_ok


async def test_an_empty_journal_has_nothing_to_prune(store):
    await prune(store, 1e12)
    assert store.anchor() == Anchor()
