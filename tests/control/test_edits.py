"""Law 13: a reload does what the edit changed, and nothing else. Each edit says in its decision what it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace

from crossfade.control.applied import applied_of
from crossfade.control.edits import route_edits
from crossfade.control.refusal import Refused
from crossfade.control.store import Store
from crossfade.control.views import Verb
from tests.control.edited import assert_replayed, in_step_two

from .harness import CANARY, HEAD, HEADING, Harness, again, loaded

SECOND_ENDPOINT = HEAD.replace("[http://127.0.0.1:9003]", "[http://127.0.0.1:9003, http://127.0.0.1:9013]")


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


PLAN_EDITS = [
    ("max: 5%", "max: 4%", "check error_rate <= 5% → error_rate <= 4%; nobody moves"),
    ("watch: 60s", "watch: 90s", "watch: 1m → 1m 30s; nobody moves"),
    (
        "min_requests: 50",
        "min_requests: 60",
        "min_requests of step 1: 50 → 60; min_requests of step 2: 50 → 60; nobody moves",
    ),
    ("{weight: 5%, hold: 10s}", "{weight: 5%, hold: 1h}", "hold of step 1: 10s → 1h; nobody moves"),
    ("{weight: 5%, hold: 10s}", "{weight: 7%, hold: 10s}", "weight of step 1: 5% → 7%; nobody moves"),
    (
        "{weight: 50%, hold: 10s}",
        "{weight: 50%, hold: 10s, approval: true}",
        "approval of step 2: no → yes; nobody moves",
    ),
    (
        "{weight: 50%, hold: 10s}",
        "{weight: 50%, hold: 10s, approval: {within: 3d, then: abort}}",
        "approval of step 2: no → within 3d, then abort; nobody moves",
    ),
    ("max_step_time: 120s", "max_step_time: 300s", "max_step_time: 2m → 5m; nobody moves"),
    ("strategy: canary", "strategy: shadow", "strategy: canary → shadow; nobody moves"),
    (
        "      watch: 60s",
        "      watch: 60s\n      fuse: false",
        "fuse: 10 errors in a row or 50% of the last 20 → off; nobody moves",
    ),
    (
        "- {metric: error_rate, max_increase: 2%}",
        "- {metric: requests, min: 10}",
        "check error_rate <= champion + 2% is gone; check requests >= 10 is new; nobody moves",
    ),
]


@pytest.mark.parametrize(("old", "new", "words"), PLAN_EDITS)
async def test_a_plan_is_edited_in_place(old, new, words):
    harness = await in_step_two()
    before, slots, actions = harness.rollout, harness.route.ledger.slots, await harness.actions()
    assert old in CANARY
    await harness.load(CANARY.replace(old, new, 1), actor="api:kim")
    assert (harness.rollout.phase, harness.rollout.step, harness.rollout.since) == (
        "progressing",
        1,
        before.since,
    )
    assert harness.route.ledger.slots == slots
    assert await harness.actions() == [*actions, "edit"]
    last = (await harness.decisions())[-1]
    assert (last.reason, last.actor) == (words, "api:kim")
    await harness.load(CANARY.replace(old, new, 1))
    assert await harness.actions() == [*actions, "edit"]  # the same file once more says nothing
    await assert_replayed(harness)


async def test_another_class_of_latency_is_another_check():
    harness, without = (
        Harness(),
        CANARY.replace("        - {metric: latency, quantile: p90, max: 500ms}\n", ""),
    )
    await harness.load(without + "    slo: interactive\n")
    await harness.run(14)
    before = len(await harness.decisions())
    await harness.load(without + "    slo: batch\n")
    assert [(d.action, d.reason) for d in (await harness.decisions())[before:]] == [
        ("edit", "check p99 latency <= 50ms → p99 latency <= 5s; nobody moves"),
        ("edit", "slo: interactive → batch; nobody moves"),
    ]
    assert harness.weights == {"v2": 5000, "v3": 5000}
    await assert_replayed(harness)


def test_keys_that_a_state_of_before_does_not_have_are_no_edit():
    config = loaded(
        CANARY.replace(
            "fallback: v2",
            "mirror: {to: v4, sample: 5%, safe: true}\n    prediction: {score: p, segment: [plan, tier]}",
        )
    ).config
    now = applied_of(config.routes[0], config, "churn")
    prediction = {
        "protocol": "json",
        "score": "p",
        "label": None,
        "decision": None,
        "segment": ["plan", "tier"],
    }
    mirror = [{"to": "v4", "sample": 500, "noise": 0}]
    then = replace(now, settings=now.settings | {"prediction": prediction, "mirror": mirror})
    assert route_edits(then, now) == ["mirror to v4.safe: no → yes"]
    more = replace(now, settings=now.settings | {"mirror": [*now.settings["mirror"], {"to": "v3"}]})
    assert route_edits(now, more) == ["mirror: v4 → v4, v3"]
    then = replace(then, settings=then.settings | {"mirror": now.settings["mirror"]})
    assert route_edits(then, now) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fallback: v2", "retry: {attempts: 0}", "fallback: v2 → none; retry.attempts: 1 → 0; nobody moves"),
        ("path: /predict", "path: /predict/v1", "match.path: /predict → /predict/v1; nobody moves"),
    ],
)
async def test_other_keys_of_a_route_are_edited_without_a_word_to_the_rollout(old, new, words):
    harness = await in_step_two()
    before = harness.rollout
    await harness.load(CANARY.replace(old, new, 1))
    assert (harness.rollout.step, harness.rollout.since) == (1, before.since)
    assert (await harness.decisions())[-1].reason == words
    await assert_replayed(harness)


@pytest.mark.parametrize("phase", ["progressing", "aborted", "promoted"])
async def test_scaling_changes_nobody_s_standing(phase):
    """Cases 06 and 12: endpoints come and go."""
    harness = Harness()
    await harness.load()
    await harness.run({"progressing": 14, "aborted": 14, "promoted": 100}[phase])
    if phase == "aborted":
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    before, weights, actions = harness.rollout, harness.weights, await harness.actions()
    await harness.load(head=SECOND_ENDPOINT)
    await harness.tick()
    assert (harness.rollout.phase, harness.rollout.step) == (phase, before.step)
    assert (harness.weights, await harness.actions()) == (weights, actions)


@pytest.mark.parametrize(
    ("yaml", "head"),
    [
        (CANARY.replace("{weight: 50%, hold: 10s}", "{weight: 50%, hold: 20s}"), HEAD),
        (CANARY.replace("weight: 50%", "weight: 40%"), HEAD),
        (CANARY.replace("max: 5%", "max: 1%"), HEAD),
        (CANARY, HEAD.replace("v3: {", "v3: {version: '3', ")),
        (CANARY, HEAD.replace("v2: {", "v2: {version: '2', ")),
        (CANARY.replace("path: /predict", "path: /predict/v1"), HEAD),
        (CANARY.replace("json: customer_id", "header: x-customer"), HEAD),
        (HEADING, HEAD),
    ],
)
async def test_a_promoted_challenger_keeps_the_traffic(store, yaml, head):
    """Case 06. Also where the finished rollout is taken out of the file."""
    harness = Harness(store)
    await harness.load()
    await harness.run(100)
    await harness.load(yaml, head)
    await harness.run(3)
    assert harness.weights == {"v3": 10_000}
    other = again(harness)
    await other.load(yaml, head)
    await other.run(3)
    assert other.weights == {"v3": 10_000}
    assert other.views.route("churn").champion == "v3"
    await assert_replayed(other)


async def test_another_rollout_with_the_former_champion_is_refused_after_a_promote():
    harness = Harness()
    await harness.load()
    await harness.run(100)
    following = CANARY.replace("challenger: v3", "challenger: v4")
    with pytest.raises(Refused, match="v3 was promoted and is the champion, and the rollout of v4 names v2"):
        await harness.load(following)
    assert (harness.weights, harness.rollout.challenger) == ({"v3": 10_000}, "v3")
    await harness.load(following.replace("strategy: canary", "restart: true\n      strategy: canary"))
    assert (harness.rollout.challenger, harness.rollout.phase) == ("v4", "progressing")


REFUSED = [
    (CANARY.replace("weight: 50%", "weight: 40%"), HEAD, "v3 is at 50%, and the steps would lower it"),
    (
        CANARY.replace("- {weight: 5%, hold: 10s}", "- {weight: 60%, hold: 10s}").replace(
            "- {weight: 50%, hold: 10s}", "- {weight: 70%, hold: 10s}"
        ),
        HEAD,
        "v3 is at 50%, and every step is above that",
    ),
    (
        CANARY.replace("json: customer_id", "header: x-customer"),
        HEAD,
        "another sticky key would move customers while the rollout of v3 runs",
    ),
    (
        CANARY,
        HEAD.replace("v2: {", "v2: {version: '2', "),
        "v3 is compared with v2, and the file says v2@2 now",
    ),
    (
        CANARY.replace("champion: v2", "champion: v4").replace("v2: 100%", "v4: 100%"),
        HEAD,
        "v3 is compared with v2, and the file says v4 now",
    ),
]


@pytest.mark.parametrize(("yaml", "head", "reason"), REFUSED)
async def test_what_cannot_be_done_in_place_is_refused_and_nothing_changes(yaml, head, reason):
    harness = await in_step_two()
    before, snapshots = await harness.decisions(), len(harness.seam.published)
    with pytest.raises(Refused) as refused:
        await harness.load(yaml, head)
    assert str(refused.value) == (
        f"routing.yaml: route churn: {reason}: abort the rollout first, or write `restart: true` in it for a new attempt"
    )
    assert (await harness.decisions(), len(harness.seam.published)) == (before, snapshots)
    await harness.run(40)
    assert harness.rollout.phase == "promoted"


@pytest.mark.parametrize(("yaml", "head", "reason"), REFUSED)
async def test_restart_in_the_file_does_it_once(store, yaml, head, reason):
    harness = Harness(store)
    await harness.load()
    await harness.run(14)
    restarted = yaml.replace("strategy: canary", "restart: true\n      strategy: canary")
    await harness.load(restarted, head)
    champion = "v4" if "champion: v4" in yaml else "v2"
    assert harness.weights == {champion: 10_000}
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
    assert "start" in (await harness.actions())[-2:]
    assert any(
        "`restart: true` in the file: v3 was in step 2 of 2" in d.reason for d in await harness.decisions()
    )
    await harness.run(3)
    assert harness.weights["v3"] in (500, 6000)
    actions = await harness.actions()
    for _ in range(2):
        await harness.load(restarted, head)  # once only
        other = again(harness)
        await other.load(restarted, head)
        assert await other.actions() == actions
        assert other.weights == harness.weights
    await assert_replayed(harness)


async def test_a_restart_by_command_begins_anew_from_every_phase():
    for ticks, verb in ((14, None), (14, Verb.PAUSE), (14, Verb.ABORT), (100, None)):
        harness = Harness()
        await harness.load()
        await harness.run(ticks)
        if verb:
            await harness.controller.command("churn", verb, "api:kim", harness.now)
        await harness.controller.command("churn", Verb.RESTART, "api:kim", harness.now)
        assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
        assert harness.weights == {"v2": 10_000}
        assert (await harness.decisions())[-1].to["attempt"] == 2
        assert all(v.n == 0 for v in harness.rollout.verdicts)
        await harness.run(100)
        assert harness.rollout.phase == "promoted"
        await assert_replayed(harness)
