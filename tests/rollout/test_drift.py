"""Checks of drift in a rollout: what passes, holds and fails, and how alpha is shared."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.rollout.drift import DriftReading, evaluate_drift
from crossfade.rollout.evaluation import EvaluationInput, choose_move, evaluate
from crossfade.rollout.inputs import decode_inputs, encode_inputs
from crossfade.rollout.machine import Event
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict
from tests.rollout.counting import CONTEXT, cell, check, evidence
from tests.rollout.test_guard import PLAN, STATE, evaluation_input

DATA = check("data_drift", max="5%")
SCORE = check("score_drift", max="10%")
SURE = log(1 / CONTEXT.alpha)


def finding(reading: DriftReading | None, asked: Check = DATA) -> Finding:
    (found,) = evaluate_drift([asked], {} if reading is None else {asked.title: reading}, CONTEXT)
    return found


def reading(log_e: float = -1.0, distance: float = 0.02, n: int = 500, **more: Any) -> DriftReading:
    return DriftReading(more.get("step", 0), n, log_e, "age", distance, more.get("trouble", ""))


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (reading(), Verdict.PASS),
        (reading(n=99), Verdict.UNDECIDED),
        (reading(distance=0.06), Verdict.UNDECIDED),
        (reading(distance=0.3, log_e=SURE - 0.01), Verdict.UNDECIDED),
        (reading(distance=0.3, log_e=SURE), Verdict.VOID),
        (reading(step=1), Verdict.UNDECIDED),
        (reading(trouble="there is no profile"), Verdict.VOID),
        (None, Verdict.UNDECIDED),
    ],
)
def test_verdicts_of_inputs(given, verdict):
    assert finding(given).verdict is verdict


def test_proven_drift_of_scores_is_a_fail_unless_it_is_told_to_hold():
    proven = reading(distance=0.3, log_e=SURE)
    assert finding(proven, SCORE).verdict is Verdict.FAIL
    assert finding(proven, check("score_drift", max="10%", then="hold")).verdict is Verdict.VOID
    assert finding(proven, check("data_drift", max="5%", then="abort")).verdict is Verdict.FAIL


def test_reasons_have_the_numbers():
    found = finding(reading(distance=0.312, log_e=SURE))
    assert found.check == "data_drift <= 5%"
    assert found.reason.startswith(
        "the shares of 500 values of age differ by up to 31.2% from the profile; the limit is 5%; "
    )
    assert found.reason.endswith("the requests are others than the profile's, and the rollout waits")
    assert found.estimate == 0.312
    assert "of 500 scores differ" in finding(reading(), SCORE).reason


def input_with(*checks: Check, **readings: DriftReading) -> EvaluationInput:
    given = evaluation_input(evidence(cell("v3", 400), cell("v2", 3600)))
    named = {each.title: readings[each.metric] for each in checks if each.metric in readings}
    return replace(given, plan=replace(PLAN, checks=(*PLAN.checks, *checks)), drift=named)


def event(given: EvaluationInput) -> Event | None:
    return choose_move(given, evaluate(given), 1000.0).event


def test_a_rollout_advances_without_drift_holds_with_it_and_aborts_where_told():
    proven = reading(distance=0.3, log_e=30.0)
    assert event(input_with(DATA, SCORE, data_drift=reading(), score_drift=reading())) is Event.PASS
    assert event(input_with(DATA, data_drift=proven)) is None
    assert event(input_with(DATA)) is None
    assert event(input_with(SCORE, score_drift=proven)) is Event.FAIL


def test_checks_of_drift_have_their_part_of_alpha():
    given = input_with(DATA, SCORE, data_drift=reading(), score_drift=reading())
    bounds = {found.check: found.bound for found in evaluate(given) if found.bound is not None}
    parts = len(given.plan.checks) * (len(given.plan.steps) + 1)
    assert len(bounds) == len(given.plan.checks)
    assert list(bounds.values()) == pytest.approx([log(parts / PLAN.alpha)] * len(bounds))


def test_a_replay_of_the_inputs_gives_the_same_findings():
    given = input_with(DATA, data_drift=reading(distance=0.3, log_e=30.0))
    assert evaluate(decode_inputs(encode_inputs(given))) == evaluate(given)


def test_mirror_steps_ask_too():
    assert not DATA.is_live and not SCORE.is_live
    assert STATE.step == 0
