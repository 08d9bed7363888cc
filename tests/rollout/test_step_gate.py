"""The gate of a step: nothing that gives the challenger more goes past it, whatever else is proven or over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.rollout.machine import Event, Phase, RolloutState, Step, advance, exposure
from crossfade.rollout.move import Facts, Move, next_move
from crossfade.rollout.plan import Goal, Plan
from crossfade.rollout.recommendation import Advice, Recommendation
from crossfade.rollout.step_gate import LASTS, GateAnswer, closed
from crossfade.rollout.verdict import Finding, Verdict
from tests.tries import tries

PASS, FAIL = Finding("c", Verdict.PASS, "it is PASS"), Finding("c", Verdict.FAIL, "it is FAIL")
UNDECIDED, VOID = Finding("c", Verdict.UNDECIDED, "not yet"), Finding("c", Verdict.VOID, "no data")
STEPS = (Step(500, 10.0, gate=True), Step(5000, 10.0, gate=True))
GO, NO = "the webhook answered 200", "the webhook answered 503: closed for the night"
GOAL = Goal("c", act=True)


def plan(**more: Any) -> Plan:
    made = Plan(
        strategy="canary", champion="v2", challenger="v3", steps=STEPS, checks=(), fuse=None, max_step_time=60.0,
        on_undecided="pause", watch=0.0, warm_up=0.0, alpha=0.05, advance_early=None,
    )  # fmt: skip
    return replace(made, **more)


def state(phase: Phase = Phase.PROGRESSING, **changes: Any) -> RolloutState:
    made = RolloutState("r", "canary", "v2", "v3", "i", STEPS, 0.0, 0.0, 0.0, 0.0, phase, begun=True)
    return replace(made, **changes)


def answer(is_open: bool = True, at: float = 30.0, step: int = 0, attempt: int = 1) -> GateAnswer:
    return GateAnswer(at, attempt, step, is_open, GO if is_open else NO)


def move(
    gate: GateAnswer | None = None,
    now: float = 30.0,
    at: RolloutState | None = None,
    finding: Finding = PASS,
    said: Recommendation | None = None,
    **more: Any,
) -> Move:
    facts = Facts((finding,), 100, True, recommendation=said, gate=gate)
    return next_move(plan(**more), at or state(), facts, now)


def test_a_step_that_would_pass_asks_its_gate():
    assert move() == Move(None, "", "the gate (UNDECIDED: it is being asked)", asks_gate=True)
    assert move(now=5.0).asks_gate is False  # the hold is not over
    assert move(finding=UNDECIDED).asks_gate is False


def test_a_go_passes_and_the_reason_has_it():
    found = move(answer())
    assert (found.event, found.asks_gate) == (Event.PASS, False)
    assert found.reason == f"held 30s, 100 requests, every check passed, the gate said go ({GO})"


def test_a_refusal_holds_and_it_is_asked_again():
    assert move(answer(False)) == Move(None, "", f"the gate (UNDECIDED: {NO})", asks_gate=True)


@pytest.mark.parametrize(
    "old",
    [answer(step=1), answer(attempt=2), answer(at=-1.0)],
    ids=["of another step", "of another attempt", "from before the step"],
)
def test_an_answer_about_something_else_is_none(old: GateAnswer):
    assert move(old) == move(None)


def test_a_go_is_good_for_a_minute():
    assert move(answer(at=30.0), now=30.0 + LASTS).event is Event.PASS
    late = move(answer(at=30.0), now=31.0 + LASTS)
    assert (late.event, late.asks_gate) == (None, True)
    assert late.waiting_for == "the gate (UNDECIDED: its go is 1m 1s old, and it is being asked again)"


def test_a_step_without_a_gate_asks_nobody():
    open_steps = (Step(500, 10.0), Step(5000, 10.0))
    assert closed(state(steps=open_steps), None, 30.0) == ""
    assert move(at=state(steps=open_steps)).event is Event.PASS


@pytest.mark.parametrize(("on_undecided", "event"), [("pause", Event.PAUSE), ("advance", Event.PAUSE), ("abort", Event.ABORT)])  # fmt: skip
def test_a_gate_that_refuses_for_max_step_time(on_undecided: str, event: Event):
    found = move(answer(False, at=60.0), now=60.0, on_undecided=on_undecided)
    assert found.event is event
    assert found.reason == f"max_step_time is over and the step still waits for the gate (UNDECIDED: {NO})"


def test_max_step_time_does_not_end_a_gate_that_was_not_asked():
    found = move(None, now=1000.0, on_undecided="abort")
    assert (found.event, found.asks_gate) == (None, True)


def test_on_undecided_advance_asks_the_gate_before_it_goes_past_the_checks():
    waits = move(None, now=60.0, finding=UNDECIDED, on_undecided="advance")
    assert (waits.event, waits.asks_gate) == (None, True)
    assert (
        move(answer(at=60.0), now=60.0, finding=UNDECIDED, on_undecided="advance").event is Event.STEP_TIMEOUT
    )
    refused = move(answer(False, at=60.0), now=60.0, finding=UNDECIDED, on_undecided="advance")
    assert refused.event is Event.PAUSE


def test_a_fail_waits_for_no_gate():
    assert move(None, finding=FAIL).event is Event.FAIL
    assert move(answer(False), finding=FAIL).event is Event.FAIL


def test_an_approval_by_time_asks_the_gate_again():
    waiting = (
        Step(500, 10.0, approval=True, approval_within=20.0, approval_then="advance", gate=True),
        STEPS[1],
    )
    at = state(Phase.PAUSED, steps=waiting, awaits_approval=True, asked_at=30.0)
    late = move(answer(at=30.0), now=200.0, at=at)
    assert (late.event, late.asks_gate) == (None, True)
    assert move(answer(at=200.0), now=200.0, at=at).event is Event.APPROVAL_TIMEOUT


def test_an_approval_that_only_pauses_asks_nobody():
    waiting = (Step(500, 10.0, approval=True, approval_within=20.0, gate=True), STEPS[1])
    at = state(Phase.PAUSED, steps=waiting, awaits_approval=True, asked_at=30.0)
    assert move(None, now=200.0, at=at).event is Event.APPROVAL_TIMEOUT


def recommended(advice: Advice) -> Recommendation:
    return Recommendation(advice, "by the number", 3.0)


@pytest.mark.parametrize("at", [state(step=1), state(Phase.PAUSED, step=1, awaits_approval=True)])
def test_a_recommendation_promotes_behind_the_gate_and_keeps_without_it(at: RolloutState):
    promote, keep = recommended(Advice.PROMOTE), recommended(Advice.KEEP)
    waits = move(None, at=at, said=promote, primary=GOAL)
    assert (waits.event, waits.asks_gate) == (None, True)
    assert move(answer(step=1), at=at, said=promote, primary=GOAL).event is Event.PROMOTE
    assert move(None, at=at, said=keep, primary=GOAL).event is Event.ABORT


def test_a_recommendation_that_is_not_there_yet_asks_no_gate():
    found = move(None, at=state(step=1), said=recommended(Advice.UNDECIDED), primary=GOAL)
    assert (found.event, found.asks_gate, found.waiting_for) == (
        None,
        False,
        "a recommendation: by the number",
    )


SITUATIONS = st.tuples(
    st.sampled_from([PASS, FAIL, UNDECIDED, VOID]),
    st.sampled_from([Phase.PROGRESSING, Phase.PAUSED]),
    st.booleans(),
    st.integers(0, 1),
)
ANSWERS = st.one_of(
    st.none(), st.builds(answer, st.booleans(), st.floats(0, 300), st.integers(0, 1), st.integers(1, 2))
)
PLANS = st.tuples(
    st.sampled_from(["pause", "abort", "advance"]),
    st.sampled_from([None, Advice.PROMOTE, Advice.KEEP, Advice.UNDECIDED]),
    st.sampled_from(["pause", "abort", "advance"]),
    st.sampled_from([None, 0.02]),
)


@settings(max_examples=tries(300))
@given(SITUATIONS, ANSWERS, st.floats(0, 400), PLANS)
def test_law_5_the_loop_raises_exposure_only_behind_a_fresh_go(situation, gate, now, planned):
    finding, phase, waits, step = situation
    on_undecided, advice, then, early = planned
    steps = tuple(replace(s, approval=waits, approval_within=20.0, approval_then=then) for s in STEPS)
    at = state(phase, steps=steps, step=step, awaits_approval=waits and phase is Phase.PAUSED, asked_at=10.0)
    said = None if advice is None else recommended(advice)
    more = {"on_undecided": on_undecided, "advance_early": early, "primary": GOAL if said else None}
    found = move(gate, now, at, finding, said, **more)
    if found.event is None:
        return
    after = advance(at, found.event, now)
    if exposure(after) > exposure(at):
        assert gate is not None and gate.is_open and (gate.step, gate.attempt) == (step, 1)
        assert now - gate.at <= LASTS
