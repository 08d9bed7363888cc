"""Checks of scores and KPIs, from the workers' counts to an abort, over a restart and in a replay."""

from __future__ import annotations

import random

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.rollout.ripe import Ripe, Said
from crossfade.stats.counts import Cell

from .harness import CANARY, Harness

STEPS = """
      steps:
        - {weight: 5%, hold: 10s}
        - {weight: 50%, hold: 10s}
"""
CHECKS = CANARY[CANARY.index("      checks:") :]


def canary_with(check: str, more: str = "") -> str:
    written = CANARY.replace(CHECKS, f"      checks:\n        - {{{check}}}\n")
    return written.replace(STEPS, f"{more}\n      steps:\n        - {{weight: 25%, hold: 10s}}\n")


class HarnessWithScores(Harness):
    """Scores are uniform, to the power of `skew`; a share `rate` of the KPI values is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(6)
        self.skew = {"v3": 1.0}
        self.rate = {"v2": 0.2, "v3": 0.2}

    def add_counts(self, backend: str, n: int, errors: int, role: str = "challenger") -> None:
        super().add_counts(backend, n, errors, role)
        cell: Cell = self.seam.counts.cells[-1]
        rows = []
        for _ in range(n):
            cell.scores.add(self.rng.random() ** self.skew.get(backend, 1.0))
            value = float(self.rng.random() < self.rate[backend])
            unit = self.rng.getrandbits(64)
            rows.append(Ripe(0, cell.ledger_version, backend, unit, False, {"conversion": value}))
        self.feed(next(iter(self.controller.state.routes)), rows)


DIVERGENCE = "metric: score_divergence, max: 0.1"
GAIN = "metric: kpi, name: conversion, kind: event, min_increase: 0"


@pytest.mark.parametrize("check", [DIVERGENCE, "metric: score_divergence, max_ratio: 1.5", GAIN])
async def test_a_challenger_with_other_scores_is_aborted_and_replayed(check):
    harness = HarnessWithScores()
    await harness.load(canary_with(check))
    await harness.run(4)
    harness.skew["v3"], harness.rate["v3"] = 4.0, 0.05
    await harness.run(20)
    assert harness.rollout.phase == "aborted"
    report = replayed(journal(harness.store))
    assert (report.differences, report.replayed) == ([], 2)


async def test_a_challenger_with_the_same_scores_is_promoted():
    harness = HarnessWithScores()
    await harness.load(canary_with(DIVERGENCE))
    await harness.run(15)
    assert harness.rollout.phase == "promoted"
    assert replayed(journal(harness.store)).differences == []


async def test_a_promote_waits_for_evidence_of_the_gain():
    harness = HarnessWithScores()
    await harness.load(canary_with(GAIN))
    await harness.run(20)
    assert harness.rollout.phase == "progressing"
    assert "kpi conversion (event) >= champion + 0 (UNDECIDED: conversion is " in harness.rollout.waiting_for
    harness.rate["v3"] = 0.6
    await harness.run(20)
    assert harness.rollout.phase == "promoted"


ACCURACY = "metric: accuracy, min_increase: -0.05"


@pytest.mark.parametrize(
    "check", [ACCURACY, "metric: auc, min_increase: -0.1", "metric: brier, max_increase: 0.05"]
)
@pytest.mark.parametrize("step", ["weight: 25%", "mirror: 50%"])
async def test_a_challenger_whose_answers_are_wrong_is_aborted_and_replayed(check, step):
    """Labels decide, by live traffic or by mirrored pairs; what each decision needs is in the journal."""
    harness = Harness()
    yaml = (
        canary_with(check)
        .replace("weight: 25%", step)
        .replace("fallback: v2", "prediction: {score: s, decision: 0.5}\n    retry: {pure: true}")
    )
    await harness.load(yaml)
    rng = random.Random(3)
    while harness.rollout.phase == "progressing":
        version, rows = harness.route.ledger.version, []
        for _ in range(400):
            label = rng.random() < 0.4
            right, wrong = (Said(score, score >= 0.5) for score in (0.2 + 0.6 * label, rng.random()))
            here = harness.weights.get("v3", 0) / 10_000 > rng.random()
            copies = {"v3": wrong} if "mirror" in step else {}
            said, backend = (wrong, "v3") if here else (right, "v2")
            rows.append(
                Ripe(0, version, backend, rng.getrandbits(64), False, {"label": int(label)}, said, copies)
            )
        harness.feed("churn", rows)
        await harness.tick(100)
    assert harness.rollout.phase == "aborted"
    assert (await harness.decisions())[-1].reason.startswith(f"{check.split()[1].rstrip(',')} ")
    report = replayed(journal(harness.store))
    assert (report.differences, report.replayed > 0) == ([], True)


async def test_scores_and_kpis_survive_a_restart():
    harness = HarnessWithScores()
    await harness.load(canary_with(DIVERGENCE))
    await harness.run(4)
    again = HarnessWithScores()
    again.store = harness.store
    again.controller = type(harness.controller)(harness.store, again.seam)
    again.now = harness.now
    await again.load(canary_with(DIVERGENCE))
    (before,), (after,) = (
        s.controller.state.routes["churn"].rollouts["v3"].verdicts for s in (harness, again)
    )
    assert before == after
    assert before.n > 0


async def test_proof_of_every_limit_ends_a_hold_early():
    harness = HarnessWithScores()
    await harness.load(
        canary_with("metric: error_rate, max_increase: 10%", "\n      advance_early: 5%").replace(
            "10s", "10h"
        )
    )
    await harness.run(4)
    assert harness.rollout.phase == "promoted"
    reason = (await harness.decisions())[-1].reason
    assert reason.endswith("every limit proven to be kept: advanced early")
