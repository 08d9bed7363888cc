"""What is slow goes down to the workers, before what it is applied to comes up."""

from __future__ import annotations

from itertools import pairwise

from crossfade.rollout.evidence import MIN_FOR_QUANTILE
from crossfade.stats.counts import Cell, Events

from .scene import CANARY, Scene

TITLE = "p90 latency <= 1.5 x champion"
RATIO = CANARY.replace("quantile: p90, max: 500ms", "quantile: p90, max_ratio: 1.5")
HANGING = "p90 latency <= 500ms"


async def test_an_absolute_limit_is_there_from_the_first_snapshot_of_the_rollout_on():
    scene = Scene()
    await scene.load()
    assert scene.route.limits == {"v3": ((HANGING, 0.5),), "v2": ((f"{HANGING} (v3)", 0.5),)}


async def test_a_limit_by_the_champion_comes_when_it_is_known_and_again_when_it_has_answered_twice_as_often():
    scene = Scene()
    await scene.load(RATIO)
    assert scene.route.limits == {}
    changed: list[int] = []
    for _ in range(16):
        before, version = scene.route.limits, scene.route.ledger.version
        scene.slow["v2"] = 0.05 + len(changed) / 100
        await scene.tick(250)
        if scene.route.limits != before and scene.route.ledger.version == version:
            evidence = scene.controller.state.routes["churn"].evidence["v3"]
            changed.append(evidence.baseline.count)
    assert changed[0] >= MIN_FOR_QUANTILE
    assert all(later >= 2 * sooner for sooner, later in pairwise(changed))
    ((title, ours),), ((_, theirs),) = scene.route.limits["v3"], scene.route.limits["v2"]
    assert title == TITLE
    assert 1.5 * theirs <= ours <= 1.5 * theirs * 1.03


async def test_nothing_is_slow_once_the_rollout_is_over():
    scene = Scene()
    await scene.load()
    scene.bad = {"v3": 0.9}
    await scene.run(10)
    assert scene.rollout.phase == "aborted"
    assert scene.route.limits == {}


async def test_a_challenger_that_hangs_is_aborted_though_it_answers_nothing():
    scene = Scene()
    await scene.load()
    await scene.run(2, 20)
    assert scene.rollout.phase == "progressing"
    waiting = Cell("churn", "v3", "challenger", scene.route.ledger.version)
    waiting.events[HANGING] = Events(keyed=12, early=12, keys=list(range(12)))
    scene.seam.counts.cells.append(waiting)
    await scene.tick()
    assert scene.rollout.phase == "aborted"
    last = (await scene.views.why("churn")).decision
    assert last is not None
    assert last.reason.endswith("12 more have waited longer than that without an answer")


async def test_one_customer_who_waits_again_and_again_is_one():
    scene = Scene()
    await scene.load()
    await scene.run(2, 20)
    waiting = Cell("churn", "v3", "challenger", scene.route.ledger.version)
    waiting.events[HANGING] = Events(keyed=12, early=12, keys=[7] * 12)
    scene.seam.counts.cells.append(waiting)
    await scene.tick()
    assert scene.rollout.phase == "progressing"
