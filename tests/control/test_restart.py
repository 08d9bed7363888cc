"""A proxy that restarts continues where it was; a reload changes only what the edit changed."""

from __future__ import annotations

from contextlib import closing, suppress

import pytest

from crossfade.control.refusal import Refused
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb
from tests.ledgers import backend_of

from .harness import CANARY, HEAD, Harness

TWO = (
    CANARY
    + """
  - name: other
    match: {prefix: /}
    split: {v2: 60%, v4: 40%}
"""
)


def again(harness: Harness) -> Harness:
    """The proxy dies, and another one opens the same state (a second connection to it, in truth)."""
    other = Harness(harness.store)
    other.now = harness.now
    return other


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
    assert (await other.decisions("other"))[-1].reason == "the file's split has changed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max: 5%", "max: 4%"),
        ("watch: 60s", "watch: 90s"),
        ("min_requests: 50", "min_requests: 60"),
        ("fallback: v2", "retry: {attempts: 0}"),
        ("path: /predict", "path: /predict/v1"),
        ("json: customer_id", "header: x-customer"),
    ],
)
async def test_a_reload_with_the_same_rollout_does_not_change_it(old, new):
    harness = Harness()
    await harness.load()
    await harness.run(14)
    before, ledger, actions = harness.rollout, harness.route.ledger, await harness.actions()
    assert old in CANARY
    await harness.load(CANARY.replace(old, new, 1))
    assert (harness.rollout.step, harness.rollout.since) == (before.step, before.since) == (1, before.since)
    assert (harness.route.ledger, await harness.actions()) == (ledger, actions)
    await harness.run(30)
    assert harness.rollout.phase == "promoted"


async def test_another_endpoint_of_the_champion_does_not_restart_the_rollout():
    harness = Harness()
    await harness.load()
    await harness.run(3)
    await harness.load(
        head=HEAD.replace("[http://127.0.0.1:9002]", "[http://127.0.0.1:9002, http://127.0.0.1:9012]")
    )
    assert await harness.actions() == ["start", "begin"]


SAME_CONTENT = [
    (CANARY.replace("weight: 50%", "weight: 40%"), HEAD),
    (CANARY.replace("hold: 10s", "hold: 20s"), HEAD),
    (CANARY.replace("strategy: canary", "strategy: ab_test"), HEAD),
    (CANARY, HEAD.replace("v2: {", "v2: {version: '2', ")),
]
OTHER_CONTENT = [
    (CANARY.replace("challenger: v3", "challenger: v4"), HEAD),
    (CANARY, HEAD.replace("9003], ", "9013], ")),
    (CANARY, HEAD.replace("9003], ", "9003], version: '2', ")),
]


@pytest.mark.parametrize(
    ("yaml", "head", "aborted"),
    [(*c, False) for c in SAME_CONTENT] + [(*c, a) for c in OTHER_CONTENT for a in (False, True)],
)
async def test_a_rollout_with_another_identity_starts_at_the_file_s_split(yaml, head, aborted):
    harness = Harness()
    await harness.load()
    await harness.run(14)
    if aborted:
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.load(yaml, head, "api:kim")
    assert (harness.weights, harness.rollout.phase, harness.rollout.step) == (
        {"v2": 10_000},
        "progressing",
        0,
    )
    last = (await harness.decisions("churn"))[-1]
    assert (last.action, last.actor) == ("start", "api:kim")
    assert [v.n for v in harness.rollout.verdicts] == [0, 0, 0]
    await harness.tick()
    assert harness.rollout.weight == 0.05


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.ROLLBACK])
@pytest.mark.parametrize(("yaml", "head"), SAME_CONTENT)
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
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    assert harness.route.ledger.slots == home.slots
    last = (await harness.decisions("churn"))[-1]
    assert (last.action, last.to["phase"]) == ("keep", "aborted")
    assert last.reason == "v3 was aborted and stays so until retry or another version: it is sick"
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.run(1)
    assert harness.weights == {"v2": 9500, "v3": 500}
    await harness.load(yaml.replace("watch: 60s", "watch: 90s").replace("weight: 5%", "weight: 6%"), head)
    await harness.run(1)
    assert harness.weights == {"v2": 9400, "v3": 600}  # no longer latched


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


async def test_a_removed_rollout_ends_at_the_file_s_split():
    harness = Harness()
    await harness.load()
    await harness.run(14)
    assert harness.weights == {"v2": 5000, "v3": 5000}
    await harness.load(CANARY[: CANARY.index("    rollout:")])
    assert (harness.weights, harness.views.rollouts(harness.now)) == ({"v2": 10_000}, [])
    assert (await harness.actions())[-1] == "end"


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


async def test_a_split_edited_during_a_rollout_is_recorded_and_not_applied(store):
    harness = Harness(store)
    await harness.load()
    await harness.run(3)
    edited = CANARY.replace("split: {v2: 100%}", "split: {v2: 90%, v3: 10%}")
    await harness.load(edited)
    assert (harness.weights, (await harness.actions())[-1]) == ({"v2": 9500, "v3": 500}, "keep")
    other = again(harness)
    await other.load(edited)
    assert (other.weights, (await other.actions())[-1]) == ({"v2": 9500, "v3": 500}, "keep")


async def test_routes_are_added_and_removed_by_reloads(store):
    harness = Harness(store)
    await harness.load()
    await harness.load(TWO)
    assert [r.name for r in harness.views.routes()] == ["churn", "other"]
    assert (await harness.decisions("other"))[-1].action == "create"
    other = again(harness)
    await other.load(CANARY)
    assert [r.name for r in other.views.routes()] == ["churn"]
    assert (await other.actions())[-1] == "remove"
    assert list(store.records()) == ["churn"]


async def test_a_removed_backend_loses_its_buckets():
    harness = Harness()
    await harness.load(TWO)
    await harness.controller.set_split("other", {"v3": 1}, "api:kim", harness.now)
    only = TWO[TWO.index("  - name: other") :]
    without = HEAD.replace("  v3: {endpoints: [http://127.0.0.1:9003], health: false}\n", "")
    await harness.load("routes:\n" + only, without)
    assert harness.views.route("other").split == {"v2": 0.6, "v4": 0.4}
    await harness.controller.set_split("other", {"v2": 1}, "api:kim", harness.now)
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
    assert harness.weights == {"v2": 10_000}
    assert harness.rollout.phase == ("aborted" if verb is Verb.ABORT else "progressing")
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
