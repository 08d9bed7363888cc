"""A proxy that restarts continues where it was; a reload changes only what the edit changed."""

from __future__ import annotations

from contextlib import closing, suppress

import pytest

from crossfade.control.refusal import Refused
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb
from tests.ledgers import backend_of

from .edited import TWO
from .harness import CANARY, HEAD, Harness, again


@pytest.fixture
def store(tmp_path):
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


@pytest.mark.parametrize("ticks", [0, 5, 15, 30])
async def test_a_restart_continues_at_the_same_step_with_the_same_map(store, ticks):
    harness = Harness(store)
    await harness.load()
    await harness.run(ticks)
    actions = await harness.actions()
    other = again(harness)
    await other.load()
    assert other.route.ledger == harness.route.ledger
    assert other.route.roles == harness.route.roles
    before, after = harness.rollout, other.rollout
    assert (after.phase, after.step, after.since) == (before.phase, before.step, before.since)
    assert [v.n for v in after.verdicts] == [v.n for v in before.verdicts]
    assert await other.actions() == actions
    await other.run(100)
    assert other.rollout.phase == "promoted"


async def test_an_aborted_challenger_stays_aborted_over_restarts_and_reloads(store):
    harness = Harness(store)
    await harness.load()
    harness.error_share = {"v3": 1.0}
    await harness.run(3)
    for _ in range(3):
        harness = again(harness)
        await harness.load()
        await harness.load(CANARY.replace("max: 5%", "max: 6%"))
        await harness.run(20)
        assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.run(1)
    assert harness.weights == {"v2": 9500, "v3": 500}


async def test_a_split_from_the_api_stays_until_the_file_s_own_changes(store):
    harness = Harness(store)
    await harness.load(TWO)
    await harness.controller.set_split("other", {"v2": 1, "v4": 3}, "api:kim", harness.now)
    other = again(harness)
    await other.load(TWO)
    assert other.views.route("other").split == {"v2": 0.25, "v4": 0.75}
    await other.load(TWO.replace("POST", "GET"))
    assert other.views.route("other").split == {"v2": 0.25, "v4": 0.75}
    await other.load(TWO.replace("v2: 60%, v4: 40%", "v2: 70%, v4: 30%"))
    assert other.views.route("other").split == {"v2": 0.7, "v4": 0.3}
    assert (await other.decisions("other"))[-1].reason == "split: v2 60%, v4 40% → v2 70%, v4 30%"


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.ROLLBACK])
@pytest.mark.parametrize(
    ("yaml", "head"),
    [
        (CANARY.replace("weight: 50%", "weight: 40%"), HEAD),
        (CANARY.replace("hold: 10s", "hold: 20s"), HEAD),
        (CANARY.replace("strategy: canary", "strategy: ab_test"), HEAD),
        (CANARY, HEAD.replace("v2: {", "v2: {version: '2', ")),
    ],
)
async def test_an_aborted_challenger_stays_aborted_under_another_plan(store, yaml, head, verb):
    harness = Harness(store)
    await harness.load()
    await harness.run(14 if verb is Verb.ABORT else 60)
    await harness.controller.command("churn", verb, "api:kim", harness.now, "it is sick")
    home = harness.route.ledger
    await harness.load(yaml, head)
    await harness.run(30)
    harness = again(harness)
    await harness.load(yaml, head)
    await harness.run(30)
    assert (harness.rollout.phase, harness.weights) in (
        ("aborted", {"v2": 10_000}),
        ("rolled_back", {"v2": 10_000}),
    )
    assert harness.route.ledger.slots == home.slots
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.run(1)
    assert harness.weights == {"v2": 9500, "v3": 500}  # no longer latched


async def test_the_latch_outlives_other_challengers_and_a_file_without_the_rollout(store):
    harness = Harness(store)
    await harness.load()
    await harness.run(3)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.load(CANARY[: CANARY.index("    rollout:")])
    assert harness.views.rollouts(harness.now) == []
    await harness.load(CANARY.replace("challenger: v3", "challenger: v4"))
    await harness.run(3)
    assert harness.weights == {"v2": 9500, "v4": 500}
    await harness.load(CANARY.replace("split: {v2: 100%}", "split: {v2: 80%, v3: 20%}"))
    await harness.run(3)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})


async def test_a_promoted_challenger_stays_until_the_next_rollout_begins_from_it():
    harness = Harness()
    await harness.load()
    await harness.run(100)
    owners = harness.route.ledger.slots
    await harness.load()
    assert harness.weights == {"v3": 10_000}
    following = CANARY.replace("challenger: v3", "challenger: v4").replace("champion: v2", "champion: v3")
    await harness.load(following.replace("split: {v2: 100%}", "split: {v3: 100%}"))
    assert (harness.weights, harness.rollout.challenger) == ({"v3": 10_000}, "v4")
    assert [backend_of(harness.route.ledger, b) for b in range(10_000)] == ["v3"] * 10_000
    assert len(owners) == 10_000
    await harness.tick()
    assert harness.weights == {"v3": 9500, "v4": 500}


async def test_an_abort_gives_the_challenger_s_part_of_the_file_s_split_to_the_champion():
    harness = Harness()
    await harness.load(CANARY.replace("split: {v2: 100%}", "split: {v2: 80%, v3: 20%}"))
    assert harness.weights == {"v2": 8000, "v3": 2000}
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert harness.weights == {"v2": 10_000}


async def test_a_removed_backend_loses_its_buckets():
    harness = Harness()
    await harness.load(TWO)
    await harness.controller.set_split("other", {"v2": 0, "v3": 1, "v4": 0}, "api:kim", harness.now)
    only = TWO[TWO.index("  - name: other") :]
    without = HEAD.replace("  v3: {endpoints: [http://127.0.0.1:9003], health: false}\n", "")
    await harness.load("routes:\n" + only, without)
    assert harness.views.route("other").split == {"v2": 0.6, "v4": 0.4}
    await harness.controller.set_split("other", {"v2": 1, "v4": 0}, "api:kim", harness.now)
    no_v4 = without.replace("  v4: {endpoints: [http://127.0.0.1:9004], health: false}\n", "")
    await harness.load("routes:\n" + only.replace("v2: 60%, v4: 40%", "v2: 100%"), no_v4)
    assert harness.route.ledger.backends == ("v2",)


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.ABORT])
async def test_a_removed_backend_is_removed_from_the_home_map_too(verb):
    """An abort must never restore a map that sends requests to nobody."""
    harness = Harness()
    await harness.load()
    await harness.run(1)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.controller.set_split("churn", {"v2": 1, "v4": 1}, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.run(1)
    assert harness.weights == {"v2": 4500, "v3": 500, "v4": 5000}
    await harness.controller.command("churn", verb, "api:kim", harness.now)
    await harness.load(head=HEAD.replace("  v4: {endpoints: [http://127.0.0.1:9004], health: false}\n", ""))
    aborted = verb is Verb.ABORT
    assert harness.weights == ({"v2": 10_000} if aborted else {"v2": 9500, "v3": 500})
    assert harness.rollout.phase == ("aborted" if aborted else "paused")
    for said in (Verb.PROMOTE, Verb.ROLLBACK):
        with suppress(Refused):
            await harness.controller.command("churn", said, "api:kim", harness.now)
        assert "v4" not in harness.route.ledger.backends


async def test_a_failed_reload_is_in_the_events_and_in_the_status():
    harness = Harness()
    await harness.load()
    with harness.controller.feed.subscribe() as events:
        harness.controller.refuse_config("routing.yaml:3:1: no")
        heard = await anext(events)
        assert isinstance(heard, StatusChange)
        assert (heard.what, heard.detail) == ("config", "routing.yaml:3:1: no")
        view = harness.views.status(harness.now).config
        assert (view.ok, view.error, view.source) == (False, "routing.yaml:3:1: no", "routing.yaml")
        await harness.load(actor="api:kim")
        heard = await anext(events)
        assert isinstance(heard, StatusChange)
        assert heard.detail == "loaded by api:kim"
    view = harness.views.status(harness.now).config
    assert (view.ok, view.error, view.loaded_at) == (True, "", harness.now)
