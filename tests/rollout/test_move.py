"""What a rollout does next, over phases, verdicts and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.config.model import RolloutConfig, StepConfig
from crossfade.rollout.machine import Event, Phase, RolloutState
from crossfade.rollout.move import Facts, Move, next_move
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Finding, Verdict, duration, percent

PASS, FAIL, UNDECIDED, VOID = (
    Finding("c", finding, f"it is {finding}")
    for finding in (Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID)
)


def plan(**given) -> Plan:
    steps = (StepConfig(weight=100, hold=60), StepConfig(weight=5000, hold=60))
    return expand(
        RolloutConfig.model_validate(
            {"strategy": "canary", "champion": "v2", "challenger": "v3", "steps": steps, **given}
        )
    )


def state(phase: Phase = Phase.PROGRESSING, **changes) -> RolloutState:
    made = RolloutState("r", "canary", "v2", "v3", "i", plan().steps, 0.0, 0.0, 0.0, 0.0, phase, begun=True)
    return replace(made, **changes)


def move(
    verdicts: Sequence[Finding] = (PASS,),
    requests: int = 100,
    ready: bool = True,
    now: float = 60.0,
    at: RolloutState | None = None,
    **given: Any,
) -> Move:
    return next_move(plan(**given), at or state(), Facts(verdicts, requests, ready), now)


def test_an_advance_wants_everything_together():
    assert move().event is Event.PASS
    assert move().reason == "held 1m, 100 requests, every check passed"


def proven(proof: float | None, finding: Verdict = Verdict.PASS) -> Finding:
    return Finding("p", finding, "p", evidence=-1.0, bound=6.0, proof=proof)


@pytest.mark.parametrize(
    ("verdicts", "alpha", "early"),
    [
        ((proven(3.0),), "5%", True),
        ((proven(3.0), PASS), "5%", True),  # what has no test, such as a number of requests, passes as ever
        ((proven(3.0),), None, False),
        ((proven(3.0),), "1%", False),
        ((proven(3.0), proven(2.9)), "5%", False),
        ((proven(3.0), proven(None)), "5%", False),  # no test of keeping it
        ((proven(3.0), proven(9.0, Verdict.UNDECIDED)), "5%", False),
        ((PASS,), "5%", False),  # nothing is proven by what has no test
    ],
)
def test_proof_ends_a_hold_where_the_operator_wants_it(verdicts, alpha, early):
    found = move(verdicts, now=1.0, advance_early=alpha)
    assert (found.event is Event.PASS) is early
    if early:
        assert found.reason == (
            "held 1s, 100 requests, every check passed, every limit proven to be kept: advanced early"
        )
    assert move(verdicts, requests=3, now=1.0, advance_early=alpha).event is None  # requests are needed still


def test_a_hold_that_is_over_needs_no_proof():
    assert move((proven(None),), advance_early="5%").reason == "held 1m, 100 requests, every check passed"


@pytest.mark.parametrize(
    ("lacking", "waits_for"),
    [
        ({"now": 45.0}, "15s of the hold of 1m"),
        ({"requests": 59}, "41 more requests on v3"),
        ({"verdicts": (PASS, UNDECIDED)}, "c (UNDECIDED: it is UNDECIDED)"),
        ({"verdicts": (VOID,)}, "c (VOID: it is VOID)"),
        ({"ready": False}, "an endpoint of v3 that is up"),
    ],
)
def test_whatever_lacks_is_waited_for(lacking, waits_for):
    found = move(**lacking)
    assert (found.event, found.waiting_for) == (None, waits_for)


def test_it_begins_when_the_challenger_is_up():
    fresh = state(begun=False)
    assert move(at=fresh, ready=False).waiting_for == "an endpoint of v3 that is up"
    assert move(at=fresh).event is Event.BEGIN


@pytest.mark.parametrize(
    ("at", "event"),
    [
        (state(), Event.FAIL),
        (state(Phase.PAUSED), Event.FAIL),
        (state(Phase.PROMOTED, watch_until=900.0), Event.FAIL),
        (state(Phase.PROMOTED), None),
        (state(Phase.ABORTED), None),
        (state(Phase.ROLLED_BACK), None),
    ],
)
def test_a_fail_acts_at_once_wherever_the_challenger_is_guarded(at, event):
    found = move((PASS, FAIL), requests=0, now=0.0, at=at)
    assert found.event is event
    assert found.reason == ("c: it is FAIL" if event else "")


def test_a_pause_waits_for_an_operator_whatever_the_verdicts():
    assert move(at=state(Phase.PAUSED)).waiting_for == "an operator, being paused: resume, promote or abort"
    waiting = state(Phase.PAUSED, awaits_approval=True)
    assert move(at=waiting).waiting_for == "an approval: resume, promote or abort"


def test_the_watch_ends_by_time():
    watched = state(Phase.PROMOTED, watch_until=90.0)
    assert move(at=watched).waiting_for == "the end of the watch in 30s"
    assert move(at=watched, now=90.0).event is Event.WATCH_ENDED
    assert move(at=state(Phase.PROMOTED)).waiting_for.startswith("nothing")


@pytest.mark.parametrize("phase", [Phase.ABORTED, Phase.ROLLED_BACK])
def test_an_ended_rollout_waits_for_a_retry(phase):
    assert move(at=state(phase)).waiting_for == "retry, or a new version of v3"


@pytest.mark.parametrize(
    ("on_undecided", "verdict", "requests", "event"),
    [
        ("pause", UNDECIDED, 100, Event.PAUSE),
        ("abort", UNDECIDED, 100, Event.ABORT),
        ("advance", UNDECIDED, 100, Event.STEP_TIMEOUT),
        ("advance", UNDECIDED, 99, Event.PAUSE),  # silence never promotes
        ("advance", PASS, 99, Event.PAUSE),
        ("advance", VOID, 100, Event.PAUSE),  # VOID neither promotes
        ("abort", VOID, 100, Event.PAUSE),  # nor blames
        ("abort", PASS, 0, Event.ABORT),
        ("abort", FAIL, 100, Event.FAIL),
    ],
)
def test_when_max_step_time_is_over(on_undecided, verdict, requests, event):
    given: dict[str, Any] = {"max_step_time": 100.0, "on_undecided": on_undecided}
    assert move((verdict,), requests, now=99.0, **given).event in (None, Event.FAIL)
    assert move((verdict,), requests, now=100.0, **given).event is event


def test_a_challenger_that_is_down_is_not_advanced_to_by_time_either():
    given: dict[str, Any] = {"max_step_time": 100.0, "on_undecided": "advance"}
    assert move((UNDECIDED,), ready=False, now=100.0, **given).event is Event.PAUSE


def test_patience_counts_from_the_resume_and_never_shortens_the_hold():
    resumed = state(patience_from=50.0)
    assert move((UNDECIDED,), now=149.0, at=resumed, max_step_time=100.0).event is None
    assert move((UNDECIDED,), now=59.0, max_step_time=10.0).event is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1825, "182ms"),
        (4.5, "4.5s"),
        (60, "1m"),
        (200, "3m 20s"),
        (7500, "2h 5m"),
        (86_400, "1d"),
        (100_800, "1d 4h"),
    ],
)
def test_durations_are_said_in_the_unit_one_would_choose(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(0.005, "0.5%"), (0.12345, "12.3%"), (0.0, "0%"), (1.0, "100%")])
def test_shares_are_said_in_percent(share, text):
    assert percent(share) == text
