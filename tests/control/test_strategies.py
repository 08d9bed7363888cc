"""The strategies at work: each is steps, and what a step gives the challenger is what its checks are asked of."""

from __future__ import annotations

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.views import Verb
from crossfade.routing.snapshot import Cut, Snapshot

from .harness import CANARY, Harness

BLUE_GREEN = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    rollout:
      strategy: blue_green
      champion: v2
      challenger: v3
      min_requests: 20
      watch: 60s
      checks: [{metric: error_rate, max: 5%}]
"""


async def test_blue_green_promotes_and_rolls_back():
    harness = Harness()
    await harness.load(BLUE_GREEN)
    home = harness.route.ledger
    await harness.tick()
    assert harness.weights == {"v3": 10_000}
    await harness.run(2)
    harness.error_share = {"v3": 0.4}
    await harness.run(3)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    assert harness.route.ledger.slots == home.slots


SHADOW = """
routes:
  - name: churn
    match: {path: /predict}
    retry: {pure: true}
    split: {v2: 100%}
    rollout:
      strategy: shadow
      champion: v2
      challenger: v3
      steps: [{mirror: 10%, hold: 5s}, {mirror: 100%, hold: 5s}, {weight: 10%, hold: 5s}]
      min_requests: 20
      checks: [{metric: error_rate, max: 5%}, {metric: error_rate, max_increase: 2%}]
"""


async def copies(harness: Harness, n: int, errors: int = 0) -> None:
    """A tick in which the challenger answered so many copies."""
    harness.add_counts("v3", n, errors, "shadow")
    await harness.tick(200)


async def test_a_shadow_gets_mirrors_then_traffic_and_is_promoted():
    harness = Harness()
    await harness.load(SHADOW)
    assert harness.mirrors == {}
    await harness.tick()
    assert (harness.mirrors, harness.weights) == ({"v3": 1000}, {"v2": 10_000})
    assert [v.check for v in harness.rollout.verdicts] == ["error_rate <= 5%"]
    for _ in range(6):
        await copies(harness, 20)
    assert (harness.rollout.step, harness.mirrors) == (1, {"v3": 10_000})
    for _ in range(6):
        await copies(harness, 200)
    assert (harness.rollout.step, harness.mirrors, harness.weights) == (2, {}, {"v2": 9000, "v3": 1000})
    assert len(harness.rollout.verdicts) == 2
    await harness.run(10)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 10_000})
    assert replayed(journal(harness.store)).differences == []


async def test_a_shadow_without_answered_mirrors_stays_at_its_step():
    """Law 4: callers' requests are no evidence of it."""
    harness = Harness()
    await harness.load(SHADOW)
    await harness.run(50)
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
    assert harness.rollout.waiting_for == "20 more copies answered on v3"


async def test_a_shadow_whose_mirrors_fail_is_aborted_and_gets_no_more():
    harness = Harness()
    await harness.load(SHADOW)
    await harness.tick()
    await copies(harness, 60, 60)
    await harness.tick()
    assert (harness.rollout.phase, harness.mirrors) == ("aborted", {})
    assert harness.views.route("churn").backends["v3"].requests == 0


async def test_an_abort_ends_mirrors_although_no_bucket_moves():
    harness = Harness()
    await harness.load(SHADOW.replace("split: {v2: 100%}", "split: {v2: 100%, v3: 0%}"))
    await harness.tick()
    assert harness.mirrors == {"v3": 1000}
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert harness.mirrors == {}


async def test_a_rise_of_the_mirror_share_is_on_disk_before_it_is_published():
    """Law 3 for copies as well, though no caller sees them."""
    harness = Harness()
    await harness.load(SHADOW)
    seen: list[str] = []

    def see(snapshot: Snapshot) -> None:
        on_disk = harness.store.last()
        assert on_disk is not None
        seen.append(f"{[m.sample for m in snapshot.routes[0].mirrors]} {on_disk.action}")

    harness.seam.on_publish = see
    await harness.tick()
    assert seen == ["[1000] begin"]


async def test_a_mirror_of_the_file_is_not_added_to_that_of_the_step():
    harness = Harness()
    await harness.load(SHADOW.replace("match:", "mirror: [{to: v3, sample: 50%}, {to: v4}]\n    match:"))
    await harness.tick()
    assert harness.mirrors == {"v3": 5000, "v4": 10_000}


PREVIEWED = BLUE_GREEN.replace(
    "      min_requests",
    "      steps: [{weight: 0%, hold: 10s}, {mirror: 50%, hold: 5s}, {weight: 100%, hold: 5s}]\n      min_requests",
).replace("    rollout:", "    retry: {pure: true}\n    rollout:")


async def test_blue_green_waits_for_approval_warms_up_and_promotes():
    harness = Harness()
    await harness.load(PREVIEWED)
    await harness.run(8)
    assert (harness.rollout.phase, harness.rollout.verdicts, harness.weights) == (
        "progressing",
        [],
        {"v2": 10_000},
    )
    await harness.run(100)
    assert (harness.rollout.phase, harness.weights, harness.mirrors) == ("paused", {"v2": 10_000}, {})
    await harness.controller.command("churn", Verb.RESUME, "api:kim", harness.now, "looks right")
    assert harness.mirrors == {"v3": 5000}
    for _ in range(6):
        await copies(harness, 50)
    assert (harness.weights, harness.mirrors) == ({"v3": 10_000}, {})
    await harness.run(7)
    assert harness.rollout.phase == "promoted"
    await harness.controller.command("churn", Verb.ROLLBACK, "api:kim", harness.now)
    assert harness.weights == {"v2": 10_000}
    assert replayed(journal(harness.store)).differences == []


@pytest.mark.parametrize(("strategy", "weight"), [("champion_challenger", 1000), ("ab_test", 5000)])
async def test_a_comparison_waits_for_an_operator(strategy: str, weight: int):
    harness = Harness()
    preset = BLUE_GREEN.replace("blue_green", strategy).replace("{metric: error_rate, max: 5%}", "")
    await harness.load(preset)
    for _ in range(15):
        await harness.tick(2000, seconds=86_400)
    assert harness.weights == {"v2": 10_000 - weight, "v3": weight}
    assert (harness.rollout.phase, harness.rollout.waiting_for) == (
        "paused",
        "an approval: resume, promote or abort",
    )
    harness.error_share = {"v3": 0.3}
    await harness.run(3, 2000)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})


@pytest.mark.parametrize(("key", "cuts"), [("cut_after: 5s", (Cut("v3", 5.0),)), ("watch: 1s", ())])
async def test_cut_after_cuts_requests_in_flight_to_an_aborted_challenger(key: str, cuts: object):
    harness = Harness()
    await harness.load(CANARY.replace("watch: 60s", key))
    await harness.tick(400)
    assert harness.route.cuts == ()
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert (harness.route.cuts, harness.weights) == (cuts, {"v2": 10_000})
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.tick(400)
    assert (harness.route.cuts, harness.weights) == ((), {"v2": 9500, "v3": 500})


SLOW = {"v2": 0.05, "v3": 0.3}  # seconds, of each answer


@pytest.mark.parametrize(("slo", "phase"), [("standard", "aborted"), ("relaxed", "progressing")])
async def test_the_class_of_a_route_ends_a_challenger_that_is_too_slow_for_it(slo: str, phase: str) -> None:
    harness = Harness()
    yaml = CANARY.replace("        - {metric: latency, quantile: p90, max: 500ms}\n", f"    slo: {slo}\n")
    await harness.load(yaml)
    harness.latency = SLOW
    await harness.run(9)
    assert harness.rollout.phase == phase
    last = (await harness.decisions())[-1]
    assert ("p99 latency <= 200ms" in last.reason) is (phase == "aborted")
    assert replayed(journal(harness.store)).differences == []
