"""Law 13 for steps, checks, approvals and splits: an edit of one leaves the weight, the evidence and the others alone."""

from __future__ import annotations

import pytest

from crossfade.control.refusal import Refused
from crossfade.control.views import Verb
from tests.control.edited import TWO, assert_replayed, in_step_two

from .harness import CANARY, HEADING, Harness, rollout_entry

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
