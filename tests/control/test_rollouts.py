"""Whole rollouts in a unit test: a fake clock, scripted counts, and what the workers are told."""

from __future__ import annotations

from itertools import pairwise

import pytest

from crossfade.control.chain import first_broken
from crossfade.control.replay import journal
from crossfade.control.views import Verb
from tests.ledgers import backend_of

from .harness import CANARY, HEAD, Harness

PROBED = HEAD.replace("[http://127.0.0.1:9003], health: false", "[http://127.0.0.1:9003]")
V3 = ("v3", "127.0.0.1:9003")


async def test_a_good_challenger_is_promoted_and_watched():
    harness = Harness()
    await harness.load()
    assert (harness.weights, harness.rollout.phase, harness.rollout.step) == (
        {"v2": 10_000},
        "progressing",
        0,
    )
    seen: list[dict[str, int]] = []
    for _ in range(100):
        await harness.tick(400)
        if not seen or seen[-1] != harness.weights:
            seen.append(harness.weights)
    assert seen == [{"v2": 9500, "v3": 500}, {"v2": 5000, "v3": 5000}, {"v3": 10_000}]
    assert await harness.actions() == ["start", "begin", "advance", "promote", "watch_ended"]
    assert harness.views.route("churn").champion == "v3"
    assert harness.rollout.waiting_for == "nothing: the rollout is complete"
    assert first_broken(journal(harness.store)) is None


async def test_each_key_moves_at_most_once_and_only_to_the_challenger():
    harness = Harness()
    await harness.load()
    await harness.run(40)
    ledgers = [s.routes[0].ledger for s in harness.seam.published]
    owners = [[backend_of(ledger, b) for b in range(10_000)] for ledger in ledgers]
    moves = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairwise(owners)]
    assert moves == [500, 4500, 5000]


async def test_a_bad_challenger_is_aborted_by_a_check_and_the_map_is_the_former_one():
    harness = Harness()
    await harness.load()
    home = harness.route.ledger
    harness.error_share = {"v2": 0.01, "v3": 0.3}
    await harness.run(40)
    assert harness.rollout.phase == "aborted"
    assert await harness.actions() == ["start", "begin", "abort"]
    assert (harness.route.ledger.backends, harness.route.ledger.slots) == (home.backends, home.slots)
    assert harness.route.ledger.version > home.version
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert last.actor == "loop"
    assert " failed in step 1 of 2, against " in last.reason
    assert any(v["verdict"] == "FAIL" for v in last.evidence["verdicts"])
    assert last.evidence["given"]["evidence"]["strata"][0]["challenger"]["errors"] > 0


async def test_a_slow_challenger_is_aborted():
    harness = Harness()
    await harness.load()
    harness.latency = {"v3": 0.9}
    await harness.run(20)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})


async def test_the_fuse_aborts_within_a_tick():
    harness = Harness()
    await harness.load()
    await harness.tick()
    harness.add_counts("v3", 10, 10)
    await harness.tick(seconds=0.25)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert last.reason.startswith("fuse: 10 errors in a row; the limit is 10; ")


async def test_the_reason_of_an_abort_says_what_failed_and_where():
    harness = Harness()
    await harness.load()
    await harness.tick()
    harness.add_counts("v3", 20, 17)
    harness.seam.counts.cells[-1].faults = {"500": 12, "first_byte_timeout": 5}
    await harness.tick()
    why = await harness.views.why("churn")
    assert why.decision is not None
    assert "fuse: 17 of the last 20 requests failed; the limit is 50% " in why.decision.reason
    assert "(in step 1 of 2: 12 × HTTP 500, 5 × first-byte timeout)" in why.decision.reason
    assert (
        "17 of 20 requests (85%) failed in step 1 of 2: 12 × HTTP 500, 5 × first-byte timeout"
        in why.decision.reason
    )
    assert "; proven at " in why.decision.reason


async def test_why_says_in_words_how_far_the_rollout_and_its_checks_are():
    harness = Harness()
    await harness.load()
    await harness.run(8)
    why = await harness.views.why("churn")
    assert why.now == "in step 1 of 2 for 7s"
    assert {v.in_words for v in why.verdicts} == {"no evidence of it; a FAIL needs 1 in 900"}
    assert all("no evidence of it" in said for said in why.would_change[1:4])


@pytest.mark.parametrize("role", ["tester", "cached"])
async def test_requests_of_testers_and_cached_answers_are_no_evidence(role: str):
    """Testers chose the challenger, and may do with it what no customer does; a cached answer says nothing new of it."""
    harness = Harness()
    await harness.load()
    await harness.tick()
    for _ in range(20):
        harness.add_counts("v3", 50, 50, role)
        await harness.tick()
    assert harness.rollout.phase == "progressing"
    assert {verdict.n for verdict in harness.rollout.verdicts} <= {0}


async def test_a_failure_of_both_backends_holds_the_rollout():
    harness = Harness()
    await harness.load()
    await harness.run(5)
    harness.error_share = {"v2": 0.9, "v3": 0.9}
    await harness.run(1)
    assert any(v.check == "fuse" and v.verdict == "VOID" for v in harness.rollout.verdicts)
    await harness.run(7)
    assert (harness.rollout.phase, harness.weights) == ("progressing", {"v2": 9500, "v3": 500})
    voids = [v for v in harness.rollout.verdicts if v.verdict == "VOID"]
    assert any(v.check == "guard: champion" for v in voids)
    causes = ("the champion is failing", "an outage of both", "a common cause")
    assert all(any(cause in v.reason for cause in causes) for v in voids), voids
    assert "the champion is failing" in harness.rollout.waiting_for or "hold" in harness.rollout.waiting_for
    harness.error_share = {}
    await harness.run(120)
    assert harness.rollout.phase == "promoted"  # what was counted while the champion was sick was left out


async def test_without_traffic_a_rollout_pauses_and_never_advances():
    harness = Harness()
    await harness.load()
    for _ in range(119):
        await harness.tick()
        assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
    assert harness.rollout.waiting_for == "50 more requests on v3"
    await harness.run(5, requests=0)
    assert harness.rollout.phase == "paused"
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert last.reason == "max_step_time is over and the step still waits for 50 more requests on v3"
    await harness.run(500, requests=0)
    assert harness.weights == {"v2": 9500, "v3": 500}


@pytest.mark.parametrize(
    ("on_undecided", "phase", "step"),
    [("pause", "paused", 0), ("abort", "aborted", 0), ("advance", "progressing", 1)],
)
async def test_max_step_time_ends_an_undecided_step(on_undecided, phase, step):
    """Errors a little above the limit, and too few to be sure."""
    harness = Harness()
    await harness.load(CANARY.replace("watch: 60s", f"watch: 60s\n      on_undecided: {on_undecided}"))
    await harness.tick()
    for _ in range(120):
        assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
        harness.add_counts("v2", 285, 14, "champion")
        harness.add_counts("v3", 15, 1)
        await harness.tick()
    assert (harness.rollout.phase, harness.rollout.step) == (phase, step)
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert (
        "120 of 1800 requests (6.67%) failed in step 1 of 2; the limit is 5%; not proven yet" in last.reason
    )


async def test_a_paused_challenger_still_has_traffic_and_can_still_fail():
    harness = Harness()
    await harness.load()
    await harness.run(3)
    await harness.controller.command("churn", Verb.PAUSE, "api:kim", harness.now)
    assert harness.weights == {"v2": 9500, "v3": 500}
    harness.error_share = {"v3": 1.0}
    await harness.run(2)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})


async def test_workers_count_for_the_tests_as_long_as_a_rollout_can_fail():
    harness = Harness()
    await harness.load()
    assert harness.route.guarded
    for _ in range(100):
        await harness.tick(400)
        assert harness.route.guarded == ("watch_ended" not in await harness.actions())
    assert not harness.route.guarded


async def test_workers_stop_counting_for_the_tests_after_an_abort():
    harness = Harness()
    await harness.load()
    await harness.tick(400)
    await harness.controller.command("churn", Verb.ABORT, "ann", harness.now)
    assert not harness.route.guarded


async def test_a_fail_during_the_watch_rolls_back_to_the_identical_map():
    harness = Harness()
    await harness.load()
    home = harness.route.ledger
    await harness.run(30)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 10_000})
    harness.error_share = {"v3": 0.4}
    await harness.run(5)
    assert harness.rollout.phase == "rolled_back"
    assert (harness.route.ledger.backends, harness.route.ledger.slots) == (home.backends, home.slots)
    assert harness.views.route("churn").champion == "v2"


async def test_after_the_watch_a_bad_champion_is_not_rolled_back():
    harness = Harness()
    await harness.load()
    await harness.run(100)
    harness.error_share = {"v3": 1.0}
    await harness.run(10)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 10_000})


async def test_exposure_waits_for_a_challenger_that_is_up():
    harness = Harness()
    await harness.load(head=PROBED)
    await harness.run(3)
    assert harness.rollout.waiting_for == "enough endpoints of v3 that are up"
    harness.controller.endpoints_changed(frozenset(), harness.now, seen_up=frozenset({V3}))
    await harness.run(1)
    assert harness.weights == {"v2": 9500, "v3": 500}
    harness.controller.endpoints_changed(frozenset({V3}), harness.now)
    assert not harness.seam.published[-1].backends["v3"].endpoints[0].up
    await harness.run(30)
    assert (harness.rollout.step, harness.rollout.waiting_for) == (0, "enough endpoints of v3 that are up")
    harness.controller.endpoints_changed(frozenset(), harness.now)
    await harness.run(1)
    assert harness.rollout.step == 1


@pytest.mark.parametrize(
    ("then", "phase", "weight"), [("abort", "aborted", 0.0), ("advance", "progressing", 0.5)]
)
async def test_an_approval_with_a_limit_ends_by_itself(then, phase, weight):
    limit = f"approval: {{within: 1h, then: {then}}}"
    harness = Harness()
    await harness.load(CANARY.replace("weight: 5%, hold: 10s", f"weight: 5%, hold: 10s, {limit}"))
    await harness.run(12)
    asked = f"an approval: resume, promote or abort; without one it will {then} in "
    assert harness.rollout.waiting_for.startswith(asked)
    await harness.tick(400, seconds=3590)
    assert (harness.rollout.phase, harness.rollout.weight) == ("paused", 0.05)
    await harness.tick(400, seconds=10)
    assert (harness.rollout.phase, harness.rollout.weight) == (phase, weight)
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert last.reason.startswith("nobody approved within 1h")


async def test_max_step_time_limits_the_wait_for_a_challenger_that_never_comes_up():
    probed = HEAD.replace("9003], health: false", "9003], health: {path: /health}")
    harness = Harness()
    await harness.load(CANARY.replace("watch: 60s", "on_undecided: abort"), probed)
    await harness.tick(seconds=119)
    assert harness.rollout.phase == "progressing"
    await harness.tick(seconds=1)
    assert (harness.rollout.phase, await harness.actions()) == ("aborted", ["start", "abort"])


async def test_a_step_with_approval_waits_for_resume():
    harness = Harness()
    await harness.load(CANARY.replace("weight: 5%, hold: 10s", "weight: 5%, hold: 10s, approval: true"))
    await harness.run(40)
    assert (harness.rollout.phase, harness.rollout.step) == ("paused", 0)
    assert harness.rollout.waiting_for == "an approval: resume, promote or abort"
    await harness.controller.command("churn", Verb.RESUME, "api:kim", harness.now, "looks good")
    assert (harness.rollout.phase, harness.rollout.step, harness.weights) == (
        "progressing",
        1,
        {"v2": 5000, "v3": 5000},
    )
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert (last.action, last.actor, last.reason) == ("advance", "api:kim", "looks good")


async def test_late_outcomes_of_the_step_before_count_for_the_step_before():
    harness = Harness()
    await harness.load()
    await harness.tick()
    late = harness.route
    await harness.run(14)
    assert harness.rollout.step == 1
    before = harness.rollout.verdicts[0].n
    harness.add_counts("v3", 40, 0)
    harness.seam.counts.cells[-1].ledger_version = late.ledger.version
    await harness.tick()
    assert harness.rollout.verdicts[0].n == before


@pytest.mark.parametrize(
    "min_up, up, begins",
    [
        ("", 1, False),
        ("", 2, True),
        (", min_up: 30%", 1, True),
        (", min_up: 100%", 2, False),
        (", min_up: 100%", 3, True),
    ],
)
async def test_a_rise_asks_for_a_share_of_the_endpoints(min_up: str, up: int, begins: bool):
    """The default is half of them: with one endpoint of three, a challenger would get the load of three."""
    endpoints = [f"http://127.0.0.1:{port}" for port in (9003, 9013, 9023)]
    harness = Harness()
    await harness.load(
        head=HEAD.replace("[http://127.0.0.1:9003], health: false", f"[{', '.join(endpoints)}]{min_up}")
    )
    names = [("v3", e.removeprefix("http://")) for e in endpoints]
    harness.controller.endpoints_changed(frozenset(names[up:]), harness.now, seen_up=frozenset(names))
    await harness.run(1)
    assert (harness.weights == {"v2": 9500, "v3": 500}) is begins
