"""The warm-up in the tick: what a rise adds to the challenger's traffic is cold, so it counts for the fuse only at first."""

from __future__ import annotations

import random

import pytest

from .harness import CANARY, Harness, rollout_entry, with_rollouts
from .test_guard import evidence_of
from .test_strategies import SHADOW, copies

WARMING = CANARY.replace("min_requests: 50", "min_requests: 50\n      warm_up: 5s")


async def test_requests_during_warm_up_count_for_no_check():
    harness = Harness()
    await harness.load(WARMING)
    await harness.run(1, 0)
    await harness.run(3, 0)  # without a request nothing warms up
    harness.error_share, harness.latency = {"v3": 0.4}, {"v3": 3.0}
    await harness.run(5)
    assert (harness.rollout.phase, evidence_of(harness)) == ("progressing", 0)
    assert harness.rollout.verdicts[0].check == "guard: warm-up"
    harness.error_share, harness.latency = {}, {}
    await harness.run(1)
    assert evidence_of(harness) == 400
    assert harness.rollout.verdicts[0].check == "error_rate <= 5%"


async def test_the_fuse_acts_during_warm_up_and_no_step_is_passed():
    harness = Harness()
    await harness.load(WARMING)
    harness.error_share = {"v3": 0.4}
    await harness.run(3)
    assert harness.rollout.phase == "progressing"
    harness.error_share = {"v3": 0.9}
    await harness.tick(400)
    assert harness.rollout.phase == "aborted"
    forever = Harness()
    await forever.load(WARMING.replace("warm_up: 5s", "warm_up: 1h"))
    await forever.run(200)
    assert (forever.rollout.step, forever.rollout.phase) == (0, "paused")


async def test_warm_up_begins_again_when_an_endpoint_is_up_again():
    harness = Harness()
    await harness.load(WARMING)
    await harness.run(7)
    before = evidence_of(harness)
    assert before > 0
    for name, port in (("v4", 9004), ("v2", 9002)):
        harness.controller.endpoints_changed(frozenset({(name, f"127.0.0.1:{port}")}), harness.now)
        harness.controller.endpoints_changed(frozenset(), harness.now)
        await harness.run(4)
        if name == "v4":  # a backend that has nothing to do with it
            assert evidence_of(harness) == before + 1600
            before += 1600
    assert evidence_of(harness) == before
    await harness.run(2)
    assert evidence_of(harness) > before


def warm_until(harness: Harness, challenger: str = "v3") -> float | None:
    found: float | None = harness.controller.state.routes["churn"].evidence[challenger].warm_until
    return found


async def until_step(harness: Harness, step: int) -> None:
    for _ in range(60):
        if harness.rollout.step == step:
            return
        await harness.run(1)
    raise AssertionError(harness.rollout.waiting_for)


async def test_each_rise_of_the_challengers_traffic_has_a_warm_up():
    harness = Harness()
    await harness.load(WARMING)
    await until_step(harness, 1)
    before = evidence_of(harness)
    assert warm_until(harness) is None  # nobody has come yet
    await harness.run(5)
    assert (evidence_of(harness), harness.rollout.verdicts[0].check) == (before, "guard: warm-up")
    assert "has just got more traffic" in harness.rollout.waiting_for or "hold" in harness.rollout.waiting_for
    await harness.run(1)
    assert evidence_of(harness) == before + 400
    while harness.rollout.phase != "promoted":
        await harness.run(1)
    before = evidence_of(harness)
    await harness.run(5)
    assert (harness.rollout.phase, evidence_of(harness)) == ("promoted", before)
    await harness.run(1)
    assert evidence_of(harness) > before


async def test_requests_in_flight_at_a_rise_do_not_begin_the_warm_up():
    harness = Harness()
    await harness.load(WARMING)
    await until_step(harness, 1)
    version = harness.route.ledger.version
    harness.add_counts("v3", 20, 0)
    harness.seam.counts.cells[-1].ledger_version = version - 1
    before = evidence_of(harness)
    await harness.tick()
    assert (warm_until(harness), evidence_of(harness)) == (None, before + 20)


async def test_requests_of_the_warm_up_that_end_after_it_do_not_count():
    harness = Harness()
    await harness.load(WARMING)
    await harness.run(1, 0)
    for second in range(100, 109):
        for routed in (second, second - 3):  # quick ones and slow ones
            harness.add_counts("v2", 10, 0)
            harness.seam.counts.cells[-1].second = routed
            harness.add_counts("v3", 10, 0)
            harness.seam.counts.cells[-1].second = routed
        await harness.tick()
    await harness.run(3, 0)  # what came last counts when its second is over
    # Nothing counts that was routed in the five seconds 100 to 104, though some ended in the seconds 105 to 107.
    assert evidence_of(harness) == 20 * len([105, 106, 107, 108, 105])


async def test_a_rise_of_another_challenger_begins_no_warm_up():
    harness = Harness()
    first = rollout_entry("v3", "5%", "30%", hold="100s", more=", warm_up: 5s")
    await harness.load(with_rollouts(first, rollout_entry("v4", "10%", "40%", more=", warm_up: 5s")))
    await harness.run(8)
    before = warm_until(harness)
    assert before is not None
    while harness.weights["v4"] < 4000:
        await harness.run(1)
    assert (warm_until(harness), warm_until(harness, "v4")) == (before, None)


async def test_a_fall_of_the_challengers_traffic_begins_no_warm_up():
    harness = Harness()
    await harness.load(WARMING)
    while harness.rollout.phase != "promoted":
        await harness.run(1)
    await harness.run(8)
    before = warm_until(harness)
    assert before is not None
    await harness.controller.set_split("churn", {"v2": 30, "v3": 70}, "api:kim", harness.wall)
    await harness.run(1)
    assert (warm_until(harness), len(harness.weights)) == (before, 2)
    await harness.controller.set_split("churn", {"v2": 10, "v3": 90}, "api:kim", harness.wall)
    assert warm_until(harness) is None


async def test_copies_of_as_many_requests_have_warmed_a_challenger():
    harness = Harness()
    await harness.load(SHADOW.replace("min_requests: 20", "min_requests: 20\n      warm_up: 5s"))
    await harness.tick()
    for step in (0, 1):  # copies of a tenth of the requests, then of all
        assert (harness.rollout.step, warm_until(harness)) == (step, None)
        for _ in range(12):
            if harness.rollout.step == step:
                await copies(harness, 200)
    assert (harness.rollout.step, harness.weights) == (2, {"v2": 9000, "v3": 1000})
    assert warm_until(harness) is not None
    before = evidence_of(harness)
    await harness.run(1)
    assert evidence_of(harness) > before


async def test_a_restart_of_the_proxy_goes_on_with_the_warm_up():
    harness = Harness()
    await harness.load(WARMING)
    await until_step(harness, 1)
    await harness.run(2)
    until = warm_until(harness)
    assert until is not None
    other = Harness(harness.store)
    other.now = harness.now
    await other.load(WARMING)
    assert warm_until(other) == until
    before = evidence_of(other)
    await other.run(2)
    assert (evidence_of(other), other.rollout.verdicts[0].check) == (before, "guard: warm-up")
    await other.run(3)
    assert evidence_of(other) > before


STEPS = ("5%", "25%", "50%")


async def cold_starts(warm_up: str, seed: int, failing: float = 0.1) -> str:
    """The phase after a rollout in which a tenth of the requests that a step adds fail for 20 s; 100 requests a second."""
    rng, harness = random.Random(seed), Harness()
    entry = rollout_entry(
        "v3", *STEPS, hold="90s", more=f", warm_up: {warm_up}, fuse: {{consecutive_errors: 5}}"
    )
    await harness.load(with_rollouts(entry))
    weight, added, since = 0, 0, harness.now
    while harness.rollout.phase == "progressing" and harness.now - since < 400:
        now = harness.weights.get("v3", 0)
        if now != weight:
            added, weight, since = now - weight, now, harness.now
        cold = added if harness.now - since < 20 else 0
        ours = sum(rng.random() < weight / 10_000 for _ in range(100))
        bad = sum(rng.random() < failing * cold / max(weight, 1) for _ in range(ours))
        for name, n, errors in (("v3", ours, bad), ("v2", 100 - ours, 0)):
            if n:
                harness.add_counts(name, n, errors)
        await harness.tick()
    return harness.rollout.phase


@pytest.mark.parametrize(("warm_up", "phase"), [("0s", "aborted"), ("60s", "promoted")])
async def test_a_cold_start_at_each_step_aborts_nothing_with_a_warm_up(warm_up, phase):
    assert [await cold_starts(warm_up, seed) for seed in range(2)] == [phase] * 2
