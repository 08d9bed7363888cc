"""Whole rollouts in a unit test: a fake clock, scripted counts, and what the workers are told."""

from __future__ import annotations

from itertools import pairwise

import pytest

from crossfade.control.chain import first_broken
from crossfade.control.replay import journal
from crossfade.control.views import Verb
from tests.ledgers import backend_of

from .scene import CANARY, HEAD, Scene

PROBED = HEAD.replace("[http://127.0.0.1:9003], health: false", "[http://127.0.0.1:9003]")
V3 = ("v3", "127.0.0.1:9003")


async def test_a_good_challenger_is_promoted_and_watched():
    scene = Scene()
    await scene.load()
    assert (scene.weights, scene.rollout.phase, scene.rollout.step) == ({"v2": 10_000}, "progressing", 0)
    seen: list[dict[str, int]] = []
    for _ in range(100):
        await scene.tick(400)
        if not seen or seen[-1] != scene.weights:
            seen.append(scene.weights)
    assert seen == [{"v2": 9500, "v3": 500}, {"v2": 5000, "v3": 5000}, {"v3": 10_000}]
    assert await scene.actions() == ["start", "begin", "advance", "promote", "watch_ended"]
    assert scene.views.route("churn").champion == "v3"
    assert scene.rollout.waiting_for == "nothing: the rollout is complete"
    assert first_broken(journal(scene.store)) is None


async def test_no_customer_moves_twice_on_the_way_and_none_without_need():
    scene = Scene()
    await scene.load()
    await scene.run(40)
    ledgers = [s.routes[0].ledger for s in scene.seam.published]
    owners = [[backend_of(ledger, b) for b in range(10_000)] for ledger in ledgers]
    moves = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairwise(owners)]
    assert moves == [500, 4500, 5000]


async def test_a_bad_challenger_is_aborted_by_a_check_and_the_map_is_the_former_one():
    scene = Scene()
    await scene.load()
    home = scene.route.ledger
    scene.bad = {"v2": 0.01, "v3": 0.3}
    await scene.run(40)
    assert scene.rollout.phase == "aborted"
    assert await scene.actions() == ["start", "begin", "abort"]
    assert (scene.route.ledger.backends, scene.route.ledger.slots) == (home.backends, home.slots)
    assert scene.route.ledger.version > home.version
    last = (await scene.views.why("churn")).decision
    assert last is not None
    assert last.actor == "loop"
    assert "requests failed" in last.reason
    assert any(v["verdict"] == "FAIL" for v in last.evidence["verdicts"])
    assert last.evidence["given"]["evidence"]["strata"][0]["challenger"]["errors"] > 0


async def test_a_slow_challenger_is_aborted():
    scene = Scene()
    await scene.load()
    scene.slow = {"v3": 0.9}
    await scene.run(20)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})


async def test_gross_failure_blows_the_fuse_within_a_tick():
    scene = Scene()
    await scene.load()
    await scene.tick()
    scene.count("v3", 10, 10)
    await scene.tick(seconds=0.25)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})
    last = (await scene.views.why("churn")).decision
    assert last is not None
    assert last.reason.startswith("fuse: 10 errors in a row; the limit is 10; ")


async def test_what_testers_cause_is_no_evidence():
    """They chose the challenger, and may do with it what no customer does."""
    scene = Scene()
    await scene.load()
    await scene.tick()
    for _ in range(20):
        scene.count("v3", 50, 50, "tester")
        await scene.tick()
    assert scene.rollout.phase == "progressing"
    assert {verdict.n for verdict in scene.rollout.verdicts} <= {0}


async def test_a_common_cause_holds_and_blames_nobody():
    scene = Scene()
    await scene.load()
    await scene.run(5)
    scene.bad = {"v2": 0.9, "v3": 0.9}
    await scene.run(1)
    assert any(v.check == "fuse" and v.verdict == "VOID" for v in scene.rollout.verdicts)
    await scene.run(7)
    assert (scene.rollout.phase, scene.weights) == ("progressing", {"v2": 9500, "v3": 500})
    voids = [v for v in scene.rollout.verdicts if v.verdict == "VOID"]
    assert any(v.check == "guard: champion" for v in voids)
    causes = ("the champion is failing", "an outage of both", "a common cause")
    assert all(any(cause in v.reason for cause in causes) for v in voids), voids
    assert "the champion is failing" in scene.rollout.waiting_for or "hold" in scene.rollout.waiting_for
    scene.bad = {}
    await scene.run(120)
    assert scene.rollout.phase == "promoted"  # what was counted while the champion was sick was left out


async def test_silence_never_promotes_and_pauses_in_the_end():
    scene = Scene()
    await scene.load()
    for _ in range(119):
        await scene.tick()
        assert (scene.rollout.phase, scene.rollout.step) == ("progressing", 0)
    assert scene.rollout.waiting_for == "50 more requests on v3"
    await scene.run(5, requests=0)
    assert scene.rollout.phase == "paused"
    last = (await scene.views.why("churn")).decision
    assert last is not None
    assert last.reason == "max_step_time is over and the step still waits for 50 more requests on v3"
    await scene.run(500, requests=0)
    assert scene.weights == {"v2": 9500, "v3": 500}


@pytest.mark.parametrize(
    ("on_undecided", "phase", "step"),
    [("pause", "paused", 0), ("abort", "aborted", 0), ("advance", "progressing", 1)],
)
async def test_undecided_for_too_long(on_undecided, phase, step):
    """Errors a little above the limit, and too few to be sure."""
    scene = Scene()
    await scene.load(CANARY.replace("watch: 60s", f"watch: 60s\n      on_undecided: {on_undecided}"))
    await scene.tick()
    for _ in range(120):
        assert (scene.rollout.phase, scene.rollout.step) == ("progressing", 0)
        scene.count("v2", 285, 14, "champion")
        scene.count("v3", 15, 1)
        await scene.tick()
    assert (scene.rollout.phase, scene.rollout.step) == (phase, step)
    last = (await scene.views.why("churn")).decision
    assert last is not None
    assert "6.67% of 1800 requests failed; the limit is 5%; not yet statistically significant" in last.reason


async def test_a_paused_challenger_still_has_traffic_and_can_still_fail():
    scene = Scene()
    await scene.load()
    await scene.run(3)
    await scene.controller.command("churn", Verb.PAUSE, "api:kim", scene.now)
    assert scene.weights == {"v2": 9500, "v3": 500}
    scene.bad = {"v3": 1.0}
    await scene.run(2)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})


async def test_a_fail_during_the_watch_rolls_back_to_the_identical_map():
    scene = Scene()
    await scene.load()
    home = scene.route.ledger
    await scene.run(30)
    assert (scene.rollout.phase, scene.weights) == ("promoted", {"v3": 10_000})
    scene.bad = {"v3": 0.4}
    await scene.run(5)
    assert scene.rollout.phase == "rolled_back"
    assert (scene.route.ledger.backends, scene.route.ledger.slots) == (home.backends, home.slots)
    assert scene.views.route("churn").champion == "v2"


async def test_after_the_watch_the_loop_leaves_the_new_champion_alone():
    scene = Scene()
    await scene.load()
    await scene.run(100)
    scene.bad = {"v3": 1.0}
    await scene.run(10)
    assert (scene.rollout.phase, scene.weights) == ("promoted", {"v3": 10_000})


async def test_exposure_waits_for_a_challenger_that_is_up():
    scene = Scene()
    await scene.load(head=PROBED)
    await scene.run(3)
    assert scene.rollout.waiting_for == "an endpoint of v3 that is up"
    scene.controller.endpoints_changed(frozenset(), scene.now, seen_up=frozenset({V3}))
    await scene.run(1)
    assert scene.weights == {"v2": 9500, "v3": 500}
    scene.controller.endpoints_changed(frozenset({V3}), scene.now)
    assert not scene.seam.published[-1].backends["v3"].endpoints[0].up
    await scene.run(30)
    assert (scene.rollout.step, scene.rollout.waiting_for) == (0, "an endpoint of v3 that is up")
    scene.controller.endpoints_changed(frozenset(), scene.now)
    await scene.run(1)
    assert scene.rollout.step == 1


async def test_an_approval_is_waited_for():
    scene = Scene()
    await scene.load(CANARY.replace("weight: 5%, hold: 10s", "weight: 5%, hold: 10s, approval: true"))
    await scene.run(40)
    assert (scene.rollout.phase, scene.rollout.step) == ("paused", 0)
    assert scene.rollout.waiting_for == "an approval: resume, promote or abort"
    await scene.controller.command("churn", Verb.RESUME, "api:kim", scene.now, "looks good")
    assert (scene.rollout.phase, scene.rollout.step, scene.weights) == (
        "progressing",
        1,
        {"v2": 5000, "v3": 5000},
    )
    last = (await scene.views.why("churn")).decision
    assert last is not None
    assert (last.action, last.actor, last.reason) == ("advance", "api:kim", "looks good")


async def test_late_outcomes_of_the_step_before_count_for_the_step_before():
    scene = Scene()
    await scene.load()
    await scene.tick()
    late = scene.route
    await scene.run(14)
    assert scene.rollout.step == 1
    before = scene.rollout.verdicts[0].n
    scene.count("v3", 40, 0)
    scene.seam.counts.cells[-1].ledger_version = late.ledger.version
    await scene.tick()
    assert scene.rollout.verdicts[0].n == before
