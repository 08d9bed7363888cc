"""What answers say, from the workers' counts to an abort, over a restart and again from the journal."""

from __future__ import annotations

import random

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.stats.counts import Cell
from crossfade.stats.means import Moments

from .scene import CANARY, Scene

STEPS = """
      steps:
        - {weight: 5%, hold: 10s}
        - {weight: 50%, hold: 10s}
"""
CHECKS = CANARY[CANARY.index("      checks:") :]


def asking(check: str, more: str = "") -> str:
    written = CANARY.replace(CHECKS, f"      checks:\n        - {{{check}}}\n")
    return written.replace(STEPS, f"{more}\n      steps:\n        - {{weight: 25%, hold: 10s}}\n")


class Told(Scene):
    """Scores are even, and to the power of `skew` on the challenger; `rate` of what comes back is a yes."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(6)
        self.skew = {"v3": 1.0}
        self.rate = {"v2": 0.2, "v3": 0.2}

    def count(self, backend: str, n: int, errors: int, role: str = "challenger") -> None:
        super().count(backend, n, errors, role)
        cell: Cell = self.seam.counts.cells[-1]
        for _ in range(n):
            cell.scores.add(self.rng.random() ** self.skew.get(backend, 1.0))
            moments = cell.kpis.setdefault("conversion", Moments())
            moments.add(float(self.rng.random() < self.rate[backend]))


DIVERGENCE = "metric: score_divergence, max: 0.1"
GAIN = "metric: kpi, name: conversion, min_increase: 0"


@pytest.mark.parametrize("check", [DIVERGENCE, "metric: score_divergence, max_ratio: 1.5", GAIN])
async def test_a_challenger_that_says_something_else_is_aborted_and_the_journal_says_why(check):
    scene = Told()
    await scene.load(asking(check))
    await scene.run(4)
    scene.skew["v3"], scene.rate["v3"] = 4.0, 0.05
    await scene.run(20)
    assert scene.rollout.phase == "aborted"
    report = replayed(journal(scene.store))
    assert (report.differences, report.replayed) == ([], 2)


async def test_one_that_says_the_same_is_promoted():
    scene = Told()
    await scene.load(asking(DIVERGENCE))
    await scene.run(15)
    assert scene.rollout.phase == "promoted"
    assert replayed(journal(scene.store)).differences == []


async def test_a_gain_has_to_be_proven():
    scene = Told()
    await scene.load(asking(GAIN))
    await scene.run(20)
    assert scene.rollout.phase == "progressing"
    assert "kpi conversion >= champion + 0 (UNDECIDED: conversion is " in scene.rollout.waiting_for
    scene.rate["v3"] = 0.6
    await scene.run(20)
    assert scene.rollout.phase == "promoted"


async def test_what_was_said_is_still_known_after_a_restart():
    scene = Told()
    await scene.load(asking(DIVERGENCE))
    await scene.run(4)
    again = Told()
    again.store = scene.store
    again.controller = type(scene.controller)(scene.store, again.seam)
    again.now = scene.now
    await again.load(asking(DIVERGENCE))
    (before,), (after,) = (s.controller.state.routes["churn"].rollouts["v3"].verdicts for s in (scene, again))
    assert before == after
    assert before.n > 0


async def test_proof_ends_a_hold_early():
    scene = Told()
    await scene.load(
        asking("metric: error_rate, max_increase: 10%", "\n      advance_early: 5%").replace("10s", "10h")
    )
    await scene.run(4)
    assert scene.rollout.phase == "promoted"
    reason = (await scene.decisions())[-1].reason
    assert reason.endswith("every limit proven to be kept: advanced early")
