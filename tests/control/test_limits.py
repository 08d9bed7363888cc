"""Latency limits are published to the workers, which count by them."""

from __future__ import annotations

from itertools import pairwise

from crossfade.rollout.evidence import MIN_FOR_QUANTILE
from crossfade.stats.counts import Cell, Events

from .harness import CANARY, Harness

TITLE = "p90 latency <= 1.5 x champion"
RATIO = CANARY.replace("quantile: p90, max: 500ms", "quantile: p90, max_ratio: 1.5")
HANGING = "p90 latency <= 500ms"


async def test_an_absolute_limit_is_published_with_the_first_step():
    harness = Harness()
    await harness.load()
    assert harness.route.limits == {"v3": ((HANGING, 0.5),), "v2": ((f"{HANGING} (v3)", 0.5),)}


async def test_a_relative_limit_is_published_when_known_and_again_after_twice_the_requests():
    harness = Harness()
    await harness.load(RATIO)
    assert harness.route.limits == {}
    changed: list[int] = []
    for _ in range(16):
        before, version = harness.route.limits, harness.route.ledger.version
        harness.latency["v2"] = 0.05 + len(changed) / 100
        await harness.tick(250)
        if harness.route.limits != before and harness.route.ledger.version == version:
            evidence = harness.controller.state.routes["churn"].evidence["v3"]
            changed.append(evidence.baseline.count)
    assert changed[0] >= MIN_FOR_QUANTILE
    assert all(later >= 2 * sooner for sooner, later in pairwise(changed))
    ((title, ours),), ((_, theirs),) = harness.route.limits["v3"], harness.route.limits["v2"]
    assert title == TITLE
    assert 1.5 * theirs <= ours <= 1.5 * theirs * 1.03


async def test_no_limit_is_published_after_the_rollout():
    harness = Harness()
    await harness.load()
    harness.error_share = {"v3": 0.9}
    await harness.run(10)
    assert harness.rollout.phase == "aborted"
    assert harness.route.limits == {}


async def test_a_challenger_that_never_answers_is_aborted():
    harness = Harness()
    await harness.load()
    await harness.run(2, 20)
    assert harness.rollout.phase == "progressing"
    waiting = Cell("churn", "v3", "challenger", harness.route.ledger.version)
    waiting.events[HANGING] = Events(keyed=12, early=12, keys=list(range(12)))
    harness.seam.counts.cells.append(waiting)
    await harness.tick()
    assert harness.rollout.phase == "aborted"
    last = (await harness.views.why("churn")).decision
    assert last is not None
    assert "12 more have waited longer than that without an answer" in last.reason


async def test_several_slow_requests_of_one_key_count_once():
    harness = Harness()
    await harness.load()
    await harness.run(2, 20)
    waiting = Cell("churn", "v3", "challenger", harness.route.ledger.version)
    waiting.events[HANGING] = Events(keyed=12, early=12, keys=[7] * 12)
    harness.seam.counts.cells.append(waiting)
    await harness.tick()
    assert harness.rollout.phase == "progressing"
