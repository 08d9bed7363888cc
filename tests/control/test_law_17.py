"""Law 17: where the champion answers and the challenger does not, that is evidence, never a gap."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from crossfade.config.rollout import Strategy
from crossfade.control.replay import journal, replayed
from crossfade.stats.counts import Cell

from .harness import HEADING, Harness

PREDICTION = "    prediction: {score: p}\n"


def with_checks(checks: str, steps: str = "[{weight: 50%, hold: 10s}]") -> str:
    return HEADING + (
        "    prediction: {score: p}\n"
        "    rollout: {strategy: canary, champion: v2, challenger: v3, min_requests: 50, "
        f"steps: {steps}, checks: {checks}}}\n"
    )


def preset(strategy: str, more: str = "") -> str:
    steps = (
        "steps: [{weight: 50%, hold: 10s}], "
        if strategy != "blue_green"
        else "steps: [{weight: 100%, hold: 10s}], "
    )
    return (
        HEADING
        + more
        + f"    rollout: {{strategy: {strategy}, champion: v2, challenger: v3, {steps}min_requests: 50}}\n"
    )


class Answers(Harness):
    """`rejecting`, `unreadable`: the share of answers by backend, and `score` of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.rejecting: dict[str, float] = {}
        self.unreadable: dict[str, float] = {}
        self.rng = random.Random(7)
        self.fixed: dict[str, float] = {}

    def add_counts(self, backend: str, n: int, errors: int, role: str = "challenger") -> None:
        super().add_counts(backend, n, errors, role)
        cell: Cell = self.seam.counts.cells[-1]
        rejected = round(n * self.rejecting.get(backend, 0.0))
        if rejected:
            cell.rejections = {"404": rejected}
        cell.read, cell.answers = n, n - errors - rejected
        cell.unreadable = cell.scoreless = round(cell.answers * self.unreadable.get(backend, 0.0))
        for _ in range(cell.answers - cell.unreadable):
            cell.scores.add(self.fixed.get(backend, self.rng.random()))


async def ended(harness: Answers) -> str:
    """The reason of the decision that ended the rollout."""
    assert harness.rollout.phase == "aborted"
    report = replayed(journal(harness.store))
    assert report.differences == []
    return (await harness.decisions())[-1].reason


@pytest.mark.parametrize("strategy", get_args(Strategy))
async def test_a_challenger_that_answers_404_to_everything_is_aborted_by_each_preset(strategy: str):
    harness = Answers()
    await harness.load(preset(strategy))
    harness.rejecting = {"v3": 1.0}
    await harness.run(4)
    reason = await ended(harness)
    assert reason.startswith("rejected <= champion + 1%: ")
    assert "requests (100%) were rejected in step 1 of 1: " in reason
    assert "× HTTP 404" in reason


@pytest.mark.parametrize("strategy", get_args(Strategy))
async def test_what_clients_do_wrong_falls_on_both_sides_alike(strategy: str):
    harness = Answers()
    harness.rejecting = {"v2": 0.3, "v3": 0.3}
    await harness.load(HEADING)
    await harness.run(5)
    await harness.load(preset(strategy))
    await harness.run(30)
    waits = strategy in ("champion_challenger", "ab_test")
    assert harness.rollout.phase == ("paused" if waits else "promoted")


async def test_a_few_more_rejections_than_the_champion_s_are_not_proven_and_hold():
    harness = Answers()
    await harness.load(preset("canary"))
    harness.rejecting = {"v2": 0.005, "v3": 0.02}
    await harness.run(12)
    assert harness.rollout.phase == "progressing"
    assert harness.rollout.waiting_for.startswith("rejected <= champion + 1% (UNDECIDED: ")


@pytest.mark.parametrize("strategy", get_args(Strategy))
async def test_answers_without_a_prediction_abort_each_preset_of_a_route_that_has_one(strategy: str):
    harness = Answers()
    await harness.load(preset(strategy, PREDICTION))
    harness.unreadable = {"v2": 0.01, "v3": 1.0}
    await harness.run(6)
    reason = await ended(harness)
    assert reason.startswith("unreadable <= champion + 1%: ")
    assert "got an answer without a prediction" in reason


async def test_a_route_without_a_prediction_has_no_check_of_one():
    harness = Answers()
    await harness.load(preset("canary"))
    assert [v.check for v in harness.rollout.verdicts] == [
        "error_rate <= champion + 1%",
        "rejected <= champion + 1%",
    ]


async def test_scores_that_one_side_loses_are_void_with_the_number():
    harness = Answers()
    await harness.load(with_checks("[{metric: score_divergence, max: 0.2}]"))
    harness.unreadable = {"v3": 0.3}
    await harness.run(20)
    assert harness.rollout.phase == "progressing"
    verdict = harness.rollout.verdicts[-1]
    assert verdict.verdict == "VOID"
    assert verdict.reason.endswith(
        "30% of the challenger's 3800 answers have no score that can be read, and 0% of the champion's 3800; "
        "scores are compared only where both lose alike"
    )


async def test_a_challenger_without_any_score_is_void_and_not_a_wait():
    harness = Answers()
    await harness.load(with_checks("[{metric: score_divergence, max: 0.2}]"))
    harness.unreadable = {"v3": 1.0}
    await harness.run(20)
    verdict = harness.rollout.verdicts[-1]
    assert (harness.rollout.phase, verdict.verdict) == ("progressing", "VOID")
    assert "100% of the challenger's 3800 answers have no score" in verdict.reason


async def test_scores_that_both_sides_lose_alike_are_compared():
    harness = Answers()
    await harness.load(with_checks("[{metric: score_divergence, max: 0.2}]"))
    harness.unreadable = {"v2": 0.3, "v3": 0.3}
    await harness.run(20)
    assert harness.rollout.phase == "promoted"


@pytest.mark.parametrize(("same", "phase"), [(False, "aborted"), (True, "promoted")])
async def test_a_champion_of_one_score_is_compared(same: bool, phase: str):
    harness = Answers()
    await harness.load(with_checks("[{metric: score_divergence, max: 0.2}]"))
    harness.fixed = {"v2": 0.0} | ({"v3": 0.0} if same else {})
    await harness.run(20)
    assert harness.rollout.phase == phase
    assert replayed(journal(harness.store)).differences == []


FILE_CHECKS = "[{metric: error_rate, max: 1%}, {metric: error_rate, max_increase: 0%}]"


@pytest.mark.parametrize("steps", ["[{weight: 50%, hold: 10s}]", "[{weight: 100%, hold: 10s}]"])
@pytest.mark.parametrize("what", ["rejecting", "unreadable"])
async def test_checks_that_do_not_ask_about_missing_answers_hold_and_say_so(what: str, steps: str):
    """An operator's own checks of errors say nothing of 422s (case f_422): the rollout is not promoted for that."""
    harness = Answers()
    await harness.load(with_checks(FILE_CHECKS, steps))
    setattr(harness, what, {"v3": 0.9})
    await harness.run(20)
    assert harness.rollout.phase == "progressing"
    kind = "rejected" if what == "rejecting" else "unreadable"
    waits = harness.rollout.waiting_for
    assert f"guard: {kind}" in [v.check for v in harness.rollout.verdicts]
    assert waits.startswith(f"guard: {kind} (VOID: ")
    assert f"no check asks about it; if it is meant, write {{metric: {kind}, max_increase: …}}" in waits


async def test_an_operator_who_means_it_says_so():
    harness = Answers()
    allowed = ", {metric: rejected, max_increase: 95%}, {metric: unreadable, max_increase: 100%}]"
    await harness.load(with_checks(FILE_CHECKS.replace("]", allowed)))
    harness.rejecting = {"v3": 0.9}
    await harness.run(20)
    assert harness.rollout.phase == "promoted"


async def test_a_shadow_that_rejects_its_copies_is_held():
    harness = Answers()
    await harness.load(
        with_checks("[{metric: error_rate, max: 5%}]", "[{mirror: 100%, hold: 5s}, {weight: 50%, hold: 5s}]")
        + "    retry: {pure: true}\n"
    )
    harness.rejecting = {"v3": 1.0}
    await harness.tick()
    for _ in range(15):
        harness.add_counts("v2", 100, 0, "champion")
        harness.add_counts("v3", 100, 0, "shadow")
        await harness.tick()
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
    assert harness.rollout.waiting_for.startswith("guard: rejected (VOID: ")
