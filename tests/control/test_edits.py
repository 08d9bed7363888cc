"""Law 13: a reload does what the edit changed, and nothing else. Each edit says in its decision what it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace

from crossfade.control import loading
from crossfade.control.applied import applied_of
from crossfade.control.edits import route_edits
from crossfade.control.refusal import Refused
from crossfade.control.replay import replayed
from crossfade.control.store import Store
from crossfade.control.views import Verb

from .harness import CANARY, HEAD, HEADING, Harness, loaded, rollout_entry, rows_of, with_rollouts

TWO = (
    CANARY
    + """
  - name: other
    match: {prefix: /}
    split: {v2: 60%, v4: 40%}
"""
)
SECOND_ENDPOINT = HEAD.replace("[http://127.0.0.1:9003]", "[http://127.0.0.1:9003, http://127.0.0.1:9013]")

HOUR = 3600.0


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:{tmp_path}/state.db")) as made:
        yield made


def again(harness: Harness) -> Harness:
    """The proxy dies, and another one opens the same state."""
    other = Harness(harness.store)
    other.now = harness.now
    return other


async def in_step_two() -> Harness:
    harness = Harness()
    await harness.load()
    await harness.run(14)
    assert harness.weights == {"v2": 5000, "v3": 5000}
    return harness


async def assert_replayed(harness: Harness) -> None:
    report = replayed(rows_of(await harness.decisions()))
    assert report.differences == []


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


THREE = CANARY.replace(
    "        - {weight: 50%, hold: 10s}\n",
    "        - {weight: 25%, hold: 1h}\n        - {weight: 50%, hold: 1h}\n",
)
STEPS = THREE[THREE.index("        - {weight: 5%") : THREE.index("      min_requests")]


def with_steps(*weights: str) -> str:
    lines = "".join(f"        - {{weight: {weight}, hold: 1h}}\n" for weight in weights)
    return THREE.replace(STEPS, lines)


@pytest.mark.parametrize(
    ("weights", "step"),
    [
        (("1%", "5%", "25%", "50%"), 2),
        (("25%", "50%"), 0),
        (("5%", "10%", "50%"), None),  # 25 % is lowered to 10 %
        (("1%", "5%", "10%", "50%"), 2),
        (("1%", "50%"), 0),
        (("5%", "30%", "50%"), 0),
        (("25%",), 0),
    ],
)
async def test_steps_come_and_go_and_the_weight_stays(weights, step):
    harness = Harness()
    await harness.load(THREE)
    await harness.run(14)
    assert harness.weights == {"v2": 7500, "v3": 2500}
    slots, seen = harness.route.ledger.slots, harness.rollout.verdicts[0].n
    edited = with_steps(*weights)
    if step is None:
        with pytest.raises(Refused, match="v3 is at 25%, and the steps would lower it"):
            await harness.load(edited)
        return
    await harness.load(edited)
    assert (harness.rollout.step, harness.route.ledger.slots) == (step, slots)
    assert harness.rollout.verdicts[0].n == seen > 0  # the evidence goes along
    await harness.run(3)
    assert harness.route.ledger.slots == slots
    harness.serve(3600)
    await harness.run(3)
    following = [float(w.rstrip("%")) / 100 for w in weights if float(w.rstrip("%")) > 25]
    if following:
        assert harness.rollout.weight == following[0]
    else:
        assert harness.rollout.phase == "promoted"
    await assert_replayed(harness)


async def test_an_edit_of_a_step_to_come_does_not_restart_the_step_that_is():
    """Case 13."""
    harness = Harness()
    await harness.load(THREE)
    await harness.run(14)
    since = harness.rollout.since
    await harness.load(THREE.replace("{weight: 50%, hold: 1h}", "{weight: 50%, hold: 12h}"))
    assert (harness.rollout.step, harness.rollout.since) == (1, since)
    assert (await harness.decisions())[-1].reason == "hold of step 3: 1h → 12h; nobody moves"


async def test_a_new_check_starts_without_evidence_and_the_others_keep_theirs():
    harness = await in_step_two()
    n = harness.rollout.verdicts[0].n
    more = "- {metric: error_rate, max: 5%}\n        - {metric: requests, min: 10}"
    edited = CANARY.replace("- {metric: error_rate, max: 5%}", more)
    await harness.load(edited)
    verdicts = {v.check: v for v in harness.rollout.verdicts}
    assert (verdicts["error_rate <= 5%"].n, verdicts["requests >= 10"].n) == (n, 0)
    await harness.run(1)
    verdicts = {v.check: v for v in harness.rollout.verdicts}
    assert verdicts["error_rate <= 5%"].n == n + verdicts["requests >= 10"].n > n
    await harness.load()
    await harness.load(edited)  # gone and back: it begins anew
    assert {v.check: v.n for v in harness.rollout.verdicts}["requests >= 10"] == 0
    await assert_replayed(harness)


async def test_an_approval_that_is_taken_out_no_longer_holds():
    harness = Harness()
    asked = CANARY.replace("{weight: 5%, hold: 10s}", "{weight: 5%, hold: 10s, approval: true}")
    await harness.load(asked)
    await harness.run(14)
    assert (harness.rollout.phase, harness.rollout.step) == ("paused", 0)
    await harness.load()
    assert harness.rollout.phase == "progressing"
    await harness.run(1)
    assert harness.weights == {"v2": 5000, "v3": 5000}
    await assert_replayed(harness)


# ── splits ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_split_edited_in_mid_rollout_applies_to_the_others_and_later_to_all():
    """Case 09: what the challenger has is its rollout's; once it has ended, the file's split is what is restored."""
    base = HEADING.replace("split: {v2: 100%}", "split: {v2: 100%}")
    yaml = base + "    rollout:\n" + rollout_entry("v3", "5%", "50%")
    edited = yaml.replace("split: {v2: 100%}", "split: {v2: 80%, v3: 20%}")
    harness = Harness()
    await harness.load(yaml)
    await harness.run(3)
    await harness.load(edited)
    assert harness.weights == {"v2": 9500, "v3": 500}
    last = (await harness.decisions())[-1]
    assert last.reason == "split: v2 100% → v2 80%, v3 20%; v3 stays at 5%, as its rollout says"
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert harness.weights == {"v2": 10_000}
    await harness.load(edited)
    assert harness.weights == {"v2": 10_000}
    (differs,) = harness.views.route("churn").config_differs
    assert str(differs) == (
        "split: the file says v2 80%, v3 20%, the state has v2 100%: write `split: {v2: 100%}`"
    )
    await assert_replayed(harness)


async def test_what_a_promote_leaves_behind_in_the_file_is_reported_with_the_edit():
    harness = Harness()
    await harness.load()
    assert harness.views.route("churn").config_differs == []
    await harness.run(14)
    assert harness.views.route("churn").config_differs == []  # a rollout that runs is what the file says
    await harness.run(86)
    assert [str(found) for found in harness.views.route("churn").config_differs] == [
        "split: the file says v2 100%, the state has v3 100%: write `split: {v3: 100%}`",
        "rollout: the file says v3 is to replace v2, the state has v3 as the champion since its promote: "
        "take `rollout` out",
    ]
    await harness.load(HEADING.replace("split: {v2: 100%}", "split: {v3: 100%}"))
    assert (harness.views.route("churn").config_differs, harness.weights) == ([], {"v3": 10_000})


async def test_a_split_by_command_is_reported_until_the_file_agrees():
    harness = Harness()
    await harness.load(TWO)
    await harness.controller.set_split("other", {"v2": 1, "v4": 3}, "api:kim", harness.now)
    (differs,) = harness.views.route("other").config_differs
    assert differs.edit == "{v2: 25%, v4: 75%}"
    await harness.load(TWO.replace("{v2: 60%, v4: 40%}", differs.edit))
    assert harness.views.route("other").config_differs == []
    assert (await harness.decisions("other"))[
        -1
    ].reason == "split: v2 60%, v4 40% → v2 25%, v4 75%; nobody moves"


async def test_an_edited_split_moves_traffic_off_a_promoted_challenger():
    harness = Harness()
    await harness.load(CANARY.replace("split: {v2: 100%}", "split: {v2: 50%, v3: 50%}"))
    await harness.run(100)
    assert harness.weights == {"v3": 10_000}
    await harness.load(CANARY)
    assert (harness.weights, harness.rollout.phase) == ({"v2": 10_000}, "rolled_back")
    assert [d.reason for d in (await harness.decisions())[-2:]] == [
        "split: v2 50%, v3 50% → v2 100%",
        "the file's split sends nothing to v3",
    ]
    await assert_replayed(harness)


# ── rollouts that are taken out or replaced ───────────────────────────────────────────────────────


async def test_a_running_rollout_that_is_taken_out_gives_its_share_back_and_says_where_it_was():
    harness = await in_step_two()
    await harness.load(HEADING)
    assert (harness.weights, harness.views.rollouts(harness.now)) == ({"v2": 10_000}, [])
    last = (await harness.decisions())[-1]
    assert (last.action, last.reason) == (
        "end",
        "the rollout was taken out of the file: v3 was in step 2 of 2",
    )
    await assert_replayed(harness)


@pytest.mark.parametrize(
    ("yaml", "head", "named"),
    [
        (CANARY.replace("challenger: v3", "challenger: v4"), HEAD, "v4"),
        (CANARY, HEAD.replace("9003], ", "9003], version: '2', "), "v3"),
    ],
)
@pytest.mark.parametrize("aborted", [False, True])
async def test_another_challenger_begins_another_rollout(yaml, head, named, aborted):
    harness = await in_step_two()
    if aborted:
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.load(yaml, head, "api:kim")
    assert (harness.weights, harness.rollout.phase, harness.rollout.step) == (
        {"v2": 10_000},
        "progressing",
        0,
    )
    assert [d.action for d in (await harness.decisions("churn"))[-2:]] == ["end", "start"]
    assert [v.n for v in harness.rollout.verdicts] == [0, 0, 0]
    await harness.tick()
    assert harness.weights == {"v2": 9500, named: 500}
    await assert_replayed(harness)


async def test_a_limit_that_is_written_while_a_step_waits_counts_from_when_it_asked():
    harness = Harness()
    asked = CANARY.replace("{weight: 5%, hold: 10s}", "{weight: 5%, hold: 10s, approval: true}")
    await harness.load(asked)
    await harness.run(12)
    assert harness.rollout.phase == "paused"
    await harness.tick(400, seconds=HOUR - 5)
    await harness.load(asked.replace("approval: true", "approval: {within: 1h, then: abort}"))
    assert harness.rollout.waiting_for.endswith("without one it will abort in 4s")
    await harness.run(5)
    assert harness.rollout.phase == "aborted"
    await assert_replayed(harness)


async def test_the_time_without_its_route_is_no_part_of_the_limit_of_an_approval():
    asked = TWO.replace(
        "{weight: 5%, hold: 10s}", "{weight: 5%, hold: 10s, approval: {within: 1h, then: abort}}"
    )
    harness = Harness()
    await harness.load(asked)
    await harness.run(13)
    before = harness.rollout.waiting_for
    assert before.endswith("without one it will abort in 59m 58s")
    await harness.load(LONE)
    harness.serve(2 * HOUR)
    await harness.load(asked)
    assert (harness.rollout.phase, harness.rollout.waiting_for.partition(";")[0]) == (
        "paused",
        before.partition(";")[0],
    )
    await harness.run(5)
    assert harness.rollout.phase == "paused"


# ── routes that leave, come back, are renamed ─────────────────────────────────────────────────────

LONE = TWO[: TWO.index("  - name: churn")] + TWO[TWO.index("  - name: other") :]


async def test_a_route_that_leaves_the_file_and_comes_back_goes_on(store):
    """Case 12: the latch outlives its route, and a file that is half-written does no harm."""
    harness = Harness(store)
    await harness.load(TWO)
    await harness.run(14)
    slots = harness.route.ledger.slots
    await harness.load(LONE)
    assert [r.name for r in harness.views.routes()] == ["other"]
    assert (await harness.decisions("churn"))[-1].action == "remove"
    other = again(harness)
    await other.load(LONE)
    other.serve(3600)
    await other.load(TWO)
    assert (other.route.ledger.slots, other.rollout.step, other.rollout.phase) == (slots, 1, "progressing")
    assert (await other.decisions("churn"))[
        -1
    ].reason == "the route is back in the file after 1h, and goes on"
    await other.tick(100)
    assert other.rollout.step == 1  # the hour without traffic is no part of the hold
    await other.run(40)
    assert other.rollout.phase == "promoted"
    await assert_replayed(other)


async def test_a_latch_outlives_its_route():
    harness = Harness()
    await harness.load(TWO)
    await harness.run(3)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "it is sick")
    await harness.load(LONE)
    await harness.run(3, 0)
    await harness.load(TWO)
    await harness.run(3)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    await assert_replayed(harness)


async def test_the_record_of_a_route_is_kept_for_a_month(monkeypatch):
    assert loading.KEPT == 30 * 86_400
    monkeypatch.setattr(loading, "KEPT", 60.0)
    harness = Harness()
    await harness.load(TWO)
    await harness.load(LONE)
    harness.serve(59)
    await harness.load(LONE)
    assert "churn" in harness.store.records()
    harness.serve(2)
    await harness.load(LONE)
    assert (await harness.decisions("churn"))[-1].action == "forget"
    assert "churn" not in harness.store.records()
    await harness.load(TWO)
    assert (await harness.decisions("churn"))[-1].action == "start"
    await assert_replayed(harness)


@pytest.mark.parametrize("aborted", [False, True])
async def test_a_renamed_route_goes_on_with_the_same_customers(store, aborted):
    """Case 12."""
    harness = Harness(store)
    await harness.load()
    await harness.run(14)
    if aborted:
        await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    ledger, salt, before = harness.route.ledger, harness.route.salt, harness.rollout
    renamed = CANARY.replace("name: churn", "name: churn2\n    renamed_from: churn")
    await harness.load(renamed)
    assert (harness.route.name, harness.route.ledger.slots, harness.route.salt) == (
        "churn2",
        ledger.slots,
        salt,
    )
    assert (harness.rollout.phase, harness.rollout.step) == (before.phase, before.step)
    assert (await harness.decisions("churn2"))[-1].reason == "goes on from churn"
    other = again(harness)
    await other.load(renamed)
    assert (other.route.name, other.route.ledger.slots, other.route.salt) == ("churn2", ledger.slots, salt)
    twice = CANARY.replace("name: churn", "name: churn3\n    renamed_from: churn2")
    await other.load(twice)
    assert (other.route.name, other.route.salt) == ("churn3", salt)
    assert sorted(other.store.records()) == ["churn3"]
    await assert_replayed(other)


async def test_a_route_renamed_to_a_name_that_once_was_goes_on_with_its_own_customers():
    """Found by the soak: there and back again, while the first name is still remembered."""
    harness = Harness()
    await harness.load()
    await harness.run(14)
    there = CANARY.replace("name: churn", "name: moved\n    renamed_from: churn")
    back = CANARY.replace("name: churn", "name: churn\n    renamed_from: moved")
    await harness.load(there)
    await harness.load(TWO[: TWO.index("  - name: churn")] + TWO[TWO.index("  - name: other") :])
    await harness.load(there)
    ledger, salt = harness.route.ledger.slots, harness.route.salt
    await harness.load(back)
    await harness.load(there)
    assert (harness.route.name, harness.route.ledger.slots, harness.route.salt) == ("moved", ledger, salt)
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 1)
    other = CANARY.replace("path: /predict", "path: /moved").replace("name: churn", "name: live")
    await harness.load(LONE.replace("  - name: other", other.removeprefix("\nroutes:\n") + "  - name: other"))
    await harness.run(14)
    live = {r.name: r for r in harness.seam.published[-1].routes}["live"]
    onto = other.replace("name: live", "name: moved\n    renamed_from: live")
    await harness.load(onto)  # `moved` is remembered, `live` serves
    assert (harness.route.name, harness.route.salt) == ("moved", live.salt)
    await assert_replayed(harness)


async def test_an_abort_takes_away_what_a_split_gave_an_aborted_challenger():
    harness = await in_step_two()
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    await harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert harness.weights == {"v2": 10_000}
    assert (await harness.actions())[-3:] == ["abort", "split", "abort"]
    await assert_replayed(harness)


async def test_several_rollouts_are_edited_each_on_its_own():
    harness = Harness()
    await harness.load(with_rollouts(rollout_entry("v3", "5%", "30%"), rollout_entry("v4", "10%", "40%")))
    await harness.run(3)
    weights = harness.weights
    await harness.load(
        with_rollouts(rollout_entry("v3", "5%", "30%", hold="20s"), rollout_entry("v4", "10%", "40%"))
    )
    assert harness.weights == weights
    last = (await harness.decisions())[-1]
    assert (last.action, last.to["challenger"]) == ("edit", "v3")
    await assert_replayed(harness)
