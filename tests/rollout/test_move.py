"""The next move of a rollout for phases, findings and times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.config.model import RolloutConfig, StepConfig
from crossfade.rollout.machine import Event, Phase, RolloutState, Step
from crossfade.rollout.move import Facts, Move, next_move
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.sequential import bound

PASS, FAIL, UNDECIDED, VOID = (
    Finding("c", verdict, f"it is {verdict}")
    for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID)
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
    findings: Sequence[Finding] = (PASS,),
    requests: int = 100,
    ready: bool = True,
    now: float = 60.0,
    at: RolloutState | None = None,
    **given: Any,
) -> Move:
    return next_move(plan(**given), at or state(), Facts(findings, requests, ready), now)


DOWN = ("v2",)


def move_without_way_back(
    findings: Sequence[Finding] = (PASS,),
    home_down: tuple[str, ...] = DOWN,
    now: float = 60.0,
    **changes: Any,
) -> Move:
    facts = Facts(findings, 100, True, home_down=home_down)
    given = plan(max_step_time="90s", on_undecided="abort")
    return next_move(given, state(**changes), facts, now)


@pytest.mark.parametrize(
    "changes", [{}, {"phase": Phase.PAUSED}, {"phase": Phase.PROMOTED, "watch_until": 99.0}]
)
def test_a_fail_with_nobody_to_go_back_to_is_written_down_once(changes):
    found = move_without_way_back((FAIL,), **changes)
    assert found == Move(Event.NO_WAY_BACK, "there is nobody to go back to: v2 is down; c: it is FAIL")
    again = move_without_way_back((FAIL,), no_way_back=True, reason=found.reason, **changes)
    assert again == Move(None, waiting_for=f"an endpoint of v2 that is up; {found.reason}")


def test_a_rollout_that_the_deadline_would_abort_needs_a_way_back_too():
    assert move_without_way_back((UNDECIDED,), home_down=(), now=90.0).event is Event.ABORT
    assert move_without_way_back((UNDECIDED,), now=90.0).event is Event.NO_WAY_BACK


def test_without_a_reason_to_end_it_does_not_matter_who_is_down():
    assert move_without_way_back().event is Event.PASS


@pytest.mark.parametrize("watch", [{}, {"phase": Phase.PROMOTED, "watch_until": 10.0}])
@pytest.mark.parametrize(
    ("finding", "home_down", "event"),
    [
        (PASS, DOWN, None),  # neither an advance nor the end of a watch
        (FAIL, DOWN, None),
        (FAIL, (), Event.FAIL),
        (PASS, (), Event.WAY_BACK),
        (VOID, (), Event.WAY_BACK),
    ],
)
def test_a_rollout_without_a_way_back_stays_as_it_is_until_there_is_one(finding, home_down, event, watch):
    found = move_without_way_back((finding,), home_down, no_way_back=True, reason="r", **watch)
    assert found.event is event


def test_an_advance_needs_hold_requests_passes_and_an_endpoint():
    assert move().event is Event.PASS
    assert move().reason == "held 1m, 100 requests, every check passed"


def proven(proof: float | None, verdict: Verdict = Verdict.PASS) -> Finding:
    return Finding("p", verdict, "p", evidence=-1.0, bound=6.0, proof=proof)


@pytest.mark.parametrize(
    ("findings", "alpha", "early"),
    [
        ((proven(3.0),), "5%", True),
        ((proven(3.0), PASS), "5%", True),  # a check without a test, such as requests, only has to pass
        ((proven(3.0),), None, False),
        ((proven(3.0),), "1%", False),
        ((proven(3.0), proven(2.9)), "5%", False),
        ((proven(3.0), proven(None)), "5%", False),  # this check has no proof
        ((proven(3.0), proven(9.0, Verdict.UNDECIDED)), "5%", False),
        ((PASS,), "5%", False),  # without a test there is no proof
    ],
)
def test_proof_ends_a_hold_if_advance_early_is_set(findings, alpha, early):
    found = move(findings, now=1.0, advance_early=alpha)
    assert (found.event is Event.PASS) is early
    if early:
        assert found.reason == (
            "held 1s, 100 requests, every check passed, every limit proven to be kept: advanced early"
        )
    assert move(findings, requests=3, now=1.0, advance_early=alpha).event is None  # requests are still needed


def test_after_the_hold_no_proof_is_needed():
    assert move((proven(None),), advance_early="5%").reason == "held 1m, 100 requests, every check passed"


@pytest.mark.parametrize(
    ("changes", "waits_for"),
    [
        ({"now": 45.0}, "15s of the hold of 1m"),
        ({"requests": 59}, "41 more requests on v3"),
        ({"findings": (PASS, UNDECIDED)}, "c (UNDECIDED: it is UNDECIDED)"),
        ({"findings": (VOID,)}, "c (VOID: it is VOID)"),
        ({"ready": False}, "enough endpoints of v3 that are up"),
    ],
)
def test_a_rollout_waits_for_the_first_missing_condition(changes, waits_for):
    found = move(**changes)
    assert (found.event, found.waiting_for) == (None, waits_for)


def test_a_rollout_begins_when_the_challenger_is_up():
    fresh = state(begun=False)
    assert move(at=fresh, ready=False).waiting_for == "enough endpoints of v3 that are up"
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
def test_a_fail_acts_at_once_while_the_challenger_is_guarded(at, event):
    found = move((PASS, FAIL), requests=0, now=0.0, at=at)
    assert found.event is event
    assert found.reason == ("c: it is FAIL" if event else "")


def test_a_paused_rollout_waits_for_an_operator_whatever_the_verdicts():
    assert (
        move(at=state(Phase.PAUSED)).waiting_for
        == "an operator, because it is paused: resume, promote or abort"
    )
    waiting = state(Phase.PAUSED, awaits_approval=True)
    assert move(at=waiting).waiting_for == "an approval: resume, promote or abort"


def asked(then: str, within: float | None = 9.0) -> RolloutState:
    step = Step(100, 60.0, approval=True, approval_within=within, approval_then=then)  # type: ignore[arg-type]
    return state(Phase.PAUSED, steps=(step, step), awaits_approval=True, asked_at=70.0)


WANTED = "an approval: resume, promote or abort"


@pytest.mark.parametrize(
    ("then", "event"),
    [
        ("abort", Event.ABORT),
        ("advance", Event.APPROVAL_TIMEOUT),
        ("pause", Event.APPROVAL_TIMEOUT),
    ],
)
def test_an_approval_that_does_not_come_in_time_ends(then, event):
    early = move(at=asked(then), now=78.0)
    assert early == Move(None, waiting_for=f"{WANTED}; without one it will {then} in 1s")
    late = move(at=asked(then), now=79.0)
    assert (late.event, late.reason[:27]) == (
        event,
        "nobody approved within 9s" + ("; " if event is not Event.ABORT else ""),
    )
    assert move(at=asked(then, within=None), now=1e9).waiting_for == WANTED


@pytest.mark.parametrize(
    ("given", "waits_for"),
    [
        ({"findings": (UNDECIDED,)}, "c (UNDECIDED: it is UNDECIDED)"),
        ({"findings": (VOID,)}, "c (VOID: it is VOID)"),
        ({"ready": False}, "enough endpoints of v3 that are up"),
    ],
)
def test_without_an_approval_only_a_step_that_would_pass_advances(given, waits_for):
    found = move(at=asked("advance"), now=99.0, **given)
    assert (found.event, found.waiting_for) == (
        None,
        f"{waits_for}; nobody approved within 9s, so it will advance then",
    )
    assert move(at=asked("pause"), now=99.0, **given).event is Event.APPROVAL_TIMEOUT


def test_a_state_that_does_not_know_when_it_asked_counts_from_the_end_of_the_hold():
    earlier = replace(asked("abort"), asked_at=0.0)
    assert move(at=earlier, now=68.9).event is None
    assert move(at=earlier, now=69.0).event is Event.ABORT


@pytest.mark.parametrize(
    ("on_undecided", "findings", "event"),
    [
        ("pause", (), Event.PAUSE),
        ("abort", (), Event.ABORT),
        ("advance", (), Event.PAUSE),  # nothing rises to a challenger that is down
        ("abort", (VOID,), Event.PAUSE),
    ],
)
def test_max_step_time_limits_the_wait_for_a_challenger_that_never_comes_up(on_undecided, findings, event):
    fresh = state(begun=False)
    given: dict[str, Any] = {"max_step_time": 100.0, "on_undecided": on_undecided}
    before = move(findings, 0, ready=False, now=99.0, at=fresh, **given)
    assert before.waiting_for == "enough endpoints of v3 that are up"
    late = move(findings, 0, ready=False, now=100.0, at=fresh, **given)
    assert late == Move(
        event, "max_step_time is over and the step still waits for enough endpoints of v3 that are up"
    )
    assert move(findings, 0, ready=False, now=1e9, at=fresh).event is None
    assert move(findings, 0, now=100.0, at=fresh, **given).event is Event.BEGIN


def test_the_watch_ends_after_its_time():
    watched = state(Phase.PROMOTED, watch_until=90.0)
    assert move(at=watched).waiting_for == "the end of the watch in 30s"
    assert move(at=watched, now=90.0).event is Event.WATCH_ENDED
    assert move(at=watched, now=90.0, ready=False).event is Event.WATCH_ENDED


def test_a_watch_that_holds_back_ends_when_the_challenger_can_take_the_rest():
    watched = state(Phase.PROMOTED, watch_until=90.0, held_back=200)
    assert move(at=watched).waiting_for == "the end of the watch in 30s; v2 keeps 2% until then"
    assert move(at=watched, now=90.0) == Move(
        Event.WATCH_ENDED, "the watch ended without a FAIL: v3 gets the 2% that v2 kept"
    )
    waiting = move(at=watched, now=90.0, ready=False)
    assert (waiting.event, waiting.waiting_for.partition(":")[0]) == (
        None,
        "enough endpoints of v3 that are up",
    )
    assert move((FAIL,), at=watched, now=90.0, ready=False).event is Event.FAIL
    assert move(at=state(Phase.PROMOTED)).waiting_for.startswith("nothing")


@pytest.mark.parametrize("phase", [Phase.ABORTED, Phase.ROLLED_BACK])
def test_an_ended_rollout_waits_for_a_retry(phase):
    assert move(at=state(phase)).waiting_for == "retry, or a new version of v3"


@pytest.mark.parametrize(
    ("on_undecided", "finding", "requests", "event"),
    [
        ("pause", UNDECIDED, 100, Event.PAUSE),
        ("abort", UNDECIDED, 100, Event.ABORT),
        ("advance", UNDECIDED, 100, Event.STEP_TIMEOUT),
        ("advance", UNDECIDED, 99, Event.PAUSE),  # too few requests never advance
        ("advance", PASS, 99, Event.PAUSE),
        ("advance", VOID, 100, Event.PAUSE),  # VOID never advances
        ("abort", VOID, 100, Event.PAUSE),  # and never aborts
        ("abort", PASS, 0, Event.ABORT),
        ("abort", FAIL, 100, Event.FAIL),
    ],
)
def test_after_max_step_time_on_undecided_decides(on_undecided, finding, requests, event):
    given: dict[str, Any] = {"max_step_time": 100.0, "on_undecided": on_undecided}
    assert move((finding,), requests, now=99.0, **given).event in (None, Event.FAIL)
    assert move((finding,), requests, now=100.0, **given).event is event


def test_after_max_step_time_a_challenger_that_is_down_is_paused():
    given: dict[str, Any] = {"max_step_time": 100.0, "on_undecided": "advance"}
    assert move((UNDECIDED,), ready=False, now=100.0, **given).event is Event.PAUSE


def test_max_step_time_counts_from_the_resume_and_never_shortens_the_hold():
    resumed = state(patience_from=50.0)
    assert move((UNDECIDED,), now=149.0, at=resumed, max_step_time=100.0).event is None
    assert move((UNDECIDED,), now=59.0, max_step_time=10.0).event is None


def test_the_first_of_several_missing_conditions_is_named():
    assert move((VOID,), requests=59, ready=False).waiting_for == "41 more requests on v3"
    late = move((UNDECIDED,), requests=59, ready=False, now=100.0, max_step_time=100.0)
    assert late == Move(
        Event.PAUSE, "max_step_time is over and the step still waits for 41 more requests on v3"
    )


def test_the_hold_counts_from_the_beginning_of_the_step():
    begun = state(since=40.0)
    assert move(now=99.0, at=begun).waiting_for == "1s of the hold of 1m"
    assert move(now=100.0, at=begun).reason == "held 1m, 100 requests, every check passed"


def test_at_the_end_of_the_hold_max_step_time_may_be_over():
    assert move((UNDECIDED,), now=60.0, max_step_time=60.0).event is Event.PAUSE


def test_a_preview_without_traffic_needs_no_requests():
    preview = state(steps=(Step(0, 60.0), Step(5000, 60.0)))
    assert move((), requests=0, at=preview).reason == "held 1m, a preview without traffic"
    assert move((), requests=0, now=59.0, at=preview).waiting_for == "1s of the hold of 1m"


def test_copies_are_requests_too():
    mirrored = state(steps=(Step(0, 60.0, mirror=5000, min_requests=100), Step(5000, 60.0)))
    assert move((), requests=99, at=mirrored).waiting_for == "1 more copies answered on v3"
    assert move((), requests=100, at=mirrored).event is Event.PASS


@pytest.mark.parametrize(("proof", "early"), [(bound(0.05), True), (bound(0.05) - 1e-9, False)])
def test_a_proof_is_one_from_its_bound_on(proof, early):
    assert (move((proven(proof),), now=1.0, advance_early="5%").event is Event.PASS) is early


def test_at_the_end_of_the_hold_nothing_is_early():
    assert move((proven(9.0),), advance_early="5%").reason == "held 1m, 100 requests, every check passed"


# ── beside other rollouts ─────────────────────────────────────────────────────────────────────────


LAST = state(step=1)
PROMOTED_OTHER = "the rollback of v4, which was promoted, or a configuration that names it as the champion"


@pytest.mark.parametrize(
    ("at", "phase", "event", "waits_for"),
    [
        (state(), Phase.PROGRESSING, Event.PASS, ""),
        (LAST, Phase.ABORTED, Event.PASS, ""),
        (LAST, Phase.PROGRESSING, None, "the end of the rollout of v4: abort what is not wanted"),
        (LAST, Phase.PROMOTED, None, PROMOTED_OTHER),
        (state(begun=False), Phase.PROGRESSING, Event.BEGIN, ""),
        (state(begun=False), Phase.PROMOTED, None, PROMOTED_OTHER),
        (state(Phase.PAUSED), Phase.PROGRESSING, None, "an operator, because it is paused: resume, promote or abort"),
    ],
)  # fmt: skip
def test_a_move_waits_for_the_other_rollouts_that_block_it(at, phase, event, waits_for):
    facts = Facts((PASS,), 100, True, {"v4": phase})
    found = next_move(plan(), at, facts, 60.0)
    assert (found.event, found.waiting_for) == (event, waits_for)
    assert (found.reason == "") is (event is None)


def test_a_fail_waits_for_nobody():
    found = next_move(plan(), LAST, Facts((FAIL,), 100, True, {"v4": Phase.PROGRESSING}), 60.0)
    assert found.event is Event.FAIL
