"""A proxy that restarts continues where it was; a reload changes only what the edit changed."""

from __future__ import annotations

from contextlib import closing, suppress

import pytest

from crossfade.control.refusal import Refused
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb
from tests.ledgers import backend_of

from .scene import CANARY, HEAD, Scene

TWO = (
    CANARY
    + """
  - name: other
    match: {prefix: /}
    split: {v2: 60%, v4: 40%}
"""
)


def again(scene: Scene) -> Scene:
    """The proxy dies, and another one opens the same state (a second connection to it, in truth)."""
    other = Scene(scene.store)
    other.now = scene.now
    return other


@pytest.fixture
def store(tmp_path):
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


@pytest.mark.parametrize("ticks", [0, 5, 15, 30])
async def test_a_restart_continues_at_the_same_step_with_the_same_map(store, ticks):
    scene = Scene(store)
    await scene.load()
    await scene.run(ticks)
    actions = await scene.actions()
    other = again(scene)
    await other.load()
    assert other.route.ledger == scene.route.ledger
    assert other.route.roles == scene.route.roles
    before, after = scene.rollout, other.rollout
    assert (after.phase, after.step, after.since) == (before.phase, before.step, before.since)
    assert [v.n for v in after.verdicts] == [v.n for v in before.verdicts]
    assert await other.actions() == actions
    await other.run(100)
    assert other.rollout.phase == "promoted"


async def test_an_aborted_challenger_stays_aborted_over_restarts_and_reloads(store):
    scene = Scene(store)
    await scene.load()
    scene.bad = {"v3": 1.0}
    await scene.run(3)
    for _ in range(3):
        scene = again(scene)
        await scene.load()
        await scene.load(CANARY.replace("max: 5%", "max: 6%"))
        await scene.run(20)
        assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})
    await scene.controller.command("churn", Verb.RETRY, "api:kim", scene.now)
    await scene.run(1)
    assert scene.weights == {"v2": 9500, "v3": 500}


async def test_a_split_from_the_api_stays_until_the_file_s_own_changes(store):
    scene = Scene(store)
    await scene.load(TWO)
    await scene.controller.set_split("other", {"v2": 1, "v4": 3}, "api:kim", scene.now)
    other = again(scene)
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
    scene = Scene()
    await scene.load()
    await scene.run(14)
    before, ledger, actions = scene.rollout, scene.route.ledger, await scene.actions()
    assert old in CANARY
    await scene.load(CANARY.replace(old, new, 1))
    assert (scene.rollout.step, scene.rollout.since) == (before.step, before.since) == (1, before.since)
    assert (scene.route.ledger, await scene.actions()) == (ledger, actions)
    await scene.run(30)
    assert scene.rollout.phase == "promoted"


async def test_another_endpoint_of_the_champion_does_not_restart_the_rollout():
    scene = Scene()
    await scene.load()
    await scene.run(3)
    await scene.load(
        head=HEAD.replace("[http://127.0.0.1:9002]", "[http://127.0.0.1:9002, http://127.0.0.1:9012]")
    )
    assert await scene.actions() == ["start", "begin"]


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
    scene = Scene()
    await scene.load()
    await scene.run(14)
    if aborted:
        await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    await scene.load(yaml, head, "api:kim")
    assert (scene.weights, scene.rollout.phase, scene.rollout.step) == ({"v2": 10_000}, "progressing", 0)
    last = (await scene.decisions("churn"))[-1]
    assert (last.action, last.actor) == ("start", "api:kim")
    assert [v.n for v in scene.rollout.verdicts] == [0, 0, 0]
    await scene.tick()
    assert scene.rollout.weight == 0.05


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.ROLLBACK])
@pytest.mark.parametrize(("yaml", "head"), SAME_CONTENT)
async def test_an_aborted_challenger_stays_aborted_under_another_plan(store, yaml, head, verb):
    scene = Scene(store)
    await scene.load()
    await scene.run(14 if verb is Verb.ABORT else 60)
    await scene.controller.command("churn", verb, "api:kim", scene.now, "it is sick")
    home = scene.route.ledger
    await scene.load(yaml, head)
    await scene.run(30)
    scene = again(scene)
    await scene.load(yaml, head)
    await scene.run(30)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})
    assert scene.route.ledger.slots == home.slots
    last = (await scene.decisions("churn"))[-1]
    assert (last.action, last.to["phase"]) == ("keep", "aborted")
    assert last.reason == "v3 was aborted and stays so until retry or another version: it is sick"
    await scene.controller.command("churn", Verb.RETRY, "api:kim", scene.now)
    await scene.run(1)
    assert scene.weights == {"v2": 9500, "v3": 500}
    await scene.load(yaml.replace("watch: 60s", "watch: 90s").replace("weight: 5%", "weight: 6%"), head)
    await scene.run(1)
    assert scene.weights == {"v2": 9400, "v3": 600}  # no longer latched


async def test_the_latch_outlives_other_challengers_and_a_file_without_the_rollout(store):
    scene = Scene(store)
    await scene.load()
    await scene.run(3)
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    await scene.load(CANARY[: CANARY.index("    rollout:")])
    assert scene.views.rollouts(scene.now) == []
    await scene.load(CANARY.replace("challenger: v3", "challenger: v4"))
    await scene.run(3)
    assert scene.weights == {"v2": 9500, "v4": 500}
    await scene.load(CANARY.replace("split: {v2: 100%}", "split: {v2: 80%, v3: 20%}"))
    await scene.run(3)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})


async def test_a_removed_rollout_ends_at_the_file_s_split():
    scene = Scene()
    await scene.load()
    await scene.run(14)
    assert scene.weights == {"v2": 5000, "v3": 5000}
    await scene.load(CANARY[: CANARY.index("    rollout:")])
    assert (scene.weights, scene.views.rollouts(scene.now)) == ({"v2": 10_000}, [])
    assert (await scene.actions())[-1] == "end"


async def test_a_promoted_challenger_stays_until_the_next_rollout_begins_from_it():
    scene = Scene()
    await scene.load()
    await scene.run(100)
    owners = scene.route.ledger.slots
    await scene.load()
    assert scene.weights == {"v3": 10_000}
    following = CANARY.replace("challenger: v3", "challenger: v4").replace("champion: v2", "champion: v3")
    await scene.load(following.replace("split: {v2: 100%}", "split: {v3: 100%}"))
    assert (scene.weights, scene.rollout.challenger) == ({"v3": 10_000}, "v4")
    assert [backend_of(scene.route.ledger, b) for b in range(10_000)] == ["v3"] * 10_000
    assert len(owners) == 10_000
    await scene.tick()
    assert scene.weights == {"v3": 9500, "v4": 500}


async def test_an_abort_gives_the_challenger_s_part_of_the_file_s_split_to_the_champion():
    scene = Scene()
    await scene.load(CANARY.replace("split: {v2: 100%}", "split: {v2: 80%, v3: 20%}"))
    assert scene.weights == {"v2": 8000, "v3": 2000}
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    assert scene.weights == {"v2": 10_000}


async def test_a_split_edited_during_a_rollout_is_recorded_and_not_applied(store):
    scene = Scene(store)
    await scene.load()
    await scene.run(3)
    edited = CANARY.replace("split: {v2: 100%}", "split: {v2: 90%, v3: 10%}")
    await scene.load(edited)
    assert (scene.weights, (await scene.actions())[-1]) == ({"v2": 9500, "v3": 500}, "keep")
    other = again(scene)
    await other.load(edited)
    assert (other.weights, (await other.actions())[-1]) == ({"v2": 9500, "v3": 500}, "keep")


async def test_routes_are_added_and_removed_by_reloads(store):
    scene = Scene(store)
    await scene.load()
    await scene.load(TWO)
    assert [r.name for r in scene.views.routes()] == ["churn", "other"]
    assert (await scene.decisions("other"))[-1].action == "create"
    other = again(scene)
    await other.load(CANARY)
    assert [r.name for r in other.views.routes()] == ["churn"]
    assert (await other.actions())[-1] == "remove"
    assert list(store.records()) == ["churn"]


async def test_a_removed_backend_loses_its_buckets():
    scene = Scene()
    await scene.load(TWO)
    await scene.controller.set_split("other", {"v3": 1}, "api:kim", scene.now)
    only = TWO[TWO.index("  - name: other") :]
    without = HEAD.replace("  v3: {endpoints: [http://127.0.0.1:9003], health: false}\n", "")
    await scene.load("routes:\n" + only, without)
    assert scene.views.route("other").split == {"v2": 0.6, "v4": 0.4}
    await scene.controller.set_split("other", {"v2": 1}, "api:kim", scene.now)
    no_v4 = without.replace("  v4: {endpoints: [http://127.0.0.1:9004], health: false}\n", "")
    await scene.load("routes:\n" + only.replace("v2: 60%, v4: 40%", "v2: 100%"), no_v4)
    assert scene.route.ledger.backends == ("v2",)


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.ABORT])
async def test_a_removed_backend_is_removed_from_the_home_map_too(verb):
    """An abort must never restore a map that sends requests to nobody."""
    scene = Scene()
    await scene.load()
    await scene.run(1)
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    await scene.controller.set_split("churn", {"v2": 1, "v4": 1}, "api:kim", scene.now)
    await scene.controller.command("churn", Verb.RETRY, "api:kim", scene.now)
    await scene.run(1)
    assert scene.weights == {"v2": 4500, "v3": 500, "v4": 5000}
    await scene.controller.command("churn", verb, "api:kim", scene.now)
    await scene.load(head=HEAD.replace("  v4: {endpoints: [http://127.0.0.1:9004], health: false}\n", ""))
    assert scene.weights == {"v2": 10_000}
    assert scene.rollout.phase == ("aborted" if verb is Verb.ABORT else "progressing")
    for said in (Verb.PROMOTE, Verb.ROLLBACK):
        with suppress(Refused):
            await scene.controller.command("churn", said, "api:kim", scene.now)
        assert "v4" not in scene.route.ledger.backends


async def test_a_failed_reload_is_in_the_events_and_in_the_status():
    scene = Scene()
    await scene.load()
    with scene.controller.feed.subscribe() as events:
        scene.controller.refuse_config("routing.yaml:3:1: no")
        heard = await anext(events)
        assert isinstance(heard, StatusChange)
        assert (heard.what, heard.detail) == ("config", "routing.yaml:3:1: no")
        view = scene.views.status(scene.now).config
        assert (view.ok, view.error, view.source) == (False, "routing.yaml:3:1: no", "routing.yaml")
        await scene.load(actor="api:kim")
        heard = await anext(events)
        assert isinstance(heard, StatusChange)
        assert heard.detail == "loaded by api:kim"
    view = scene.views.status(scene.now).config
    assert (view.ok, view.error, view.loaded_at) == (True, "", scene.now)
