"""After an ejection the evidence of an endpoint counts neither for nor against the model."""

from __future__ import annotations

from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.ejection import leave_out, take_back
from crossfade.rollout.evaluation import EvaluationInput, evaluate
from crossfade.rollout.evidence import Evidence, event_totals, split_counts
from crossfade.rollout.guard import INSTANCE, GuardInput, evaluate_guard, proven_instances
from crossfade.rollout.instances import BadEndpoint, bad_endpoints, cell_of
from crossfade.rollout.machine import RolloutState, Step
from crossfade.rollout.plan import Plan
from crossfade.rollout.recent import RecentOutcomes
from crossfade.rollout.verdict import Verdict
from crossfade.stats.counts import ERROR, REJECTED, REQUESTS, Cell
from crossfade.stats.sequential import SplitCounts

from .counting import cell, check, gather
from .test_instances import with_endpoints

CHECKS = (
    check("error_rate", max=0.05),
    check("error_rate", max_increase=0.02),
    check("latency", quantile=0.9, max=0.1),
)
SLOW = CHECKS[2].title
QUIET = GuardInput(0.0, False, RecentOutcomes(), RecentOutcomes())


def bad_instance(endpoint: str = "a", seconds: int = 60, backend: str = "v3", errors: int = 3) -> Evidence:
    """One endpoint of three fails; the other side is healthy."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    other = "v2" if backend == "v3" else "v3"
    for second in range(1, seconds + 1):
        counts = {name: (errors if name == endpoint else 0, 10) for name in "abc"}
        gather(made, [with_endpoints(backend, second, **counts), cell(other, 30)], CHECKS)
    return made


STEPS = (Step(5000, 10.0, min_requests=100),)
PLAN = Plan("canary", "v2", "v3", STEPS, CHECKS, None, None, "pause", 0.0, 0.0, 0.01)
STATE = RolloutState("r", "canary", "v2", "v3", "i", STEPS, 0.0, 0.0, 0.0, 0.0, begun=True)


def given_input(evidence: Evidence) -> EvaluationInput:
    return EvaluationInput(PLAN, STATE, evidence, RecentOutcomes(), RecentOutcomes(), sticky=False)


@pytest.mark.parametrize("backend", ["v3", "v2"])
def test_a_proven_instance_of_either_side_holds_the_rollout(backend):
    [found] = evaluate_guard(bad_instance(backend=backend), 0, QUIET)
    assert (found.finding.check, found.finding.verdict, found.excuses) == (INSTANCE, Verdict.VOID, False)
    words = f"only endpoint a of {backend} is bad: 180 of 600 requests failed there (30%), 0 of 1200 at its other endpoints"
    assert found.finding.reason.startswith(words)
    assert (found.finding.n, found.finding.estimate) == (600, 0.3)


def test_if_all_endpoints_are_bad_alike_no_instance_is():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    for second in range(1, 61):
        gather(made, [with_endpoints("v3", second, a=(3, 10), b=(3, 10), c=(3, 10)), cell("v2", 30)], CHECKS)
    assert proven_instances(made, 0) == []
    findings = {found.check: found for found in evaluate(given_input(made))}
    assert findings[CHECKS[0].title].verdict is Verdict.FAIL


def test_after_the_ejection_the_model_is_judged_by_the_others():
    made = bad_instance()
    before = {found.check: found.verdict for found in evaluate(given_input(made))}
    assert before[CHECKS[0].title] is not Verdict.PASS
    leave_out(made, proven_instances(made, 0)[0])
    after = evaluate(given_input(made))
    assert {found.check: found.verdict for found in after} == {each.title: Verdict.PASS for each in CHECKS}
    assert all(found.reason.endswith("; without a of v3, ejected by evidence") for found in after)


def test_the_counts_of_an_ejected_endpoint_are_taken_away():
    made = bad_instance()
    made.strata[0].challenger.faults = {"HTTP 500": 150, "reset": 30}
    made.strata[0].challenger.fell_back = 180
    leave_out(made, proven_instances(made, 0)[0])
    ours, theirs = event_totals(made.strata, ERROR)
    assert (ours.all, ours.first, ours.n) == (0, 0, 1200)
    assert (theirs.all, theirs.n) == (0, 1200)  # as the share of the traffic stays as it is
    left = made.strata[0].challenger
    assert (left.requests, left.errors, left.duration.count, left.faults, left.fell_back) == (
        1200,
        0,
        1200,
        {},
        0,
    )
    assert set(left.by_endpoint) == {"b", "c"} and made.strata[0].marks == []
    assert made.strata[0].spent > 0
    assert event_totals(made.strata, REJECTED)[0].n == 1800  # not counted by endpoint
    assert proven_instances(made, 0) == [] and bad_endpoints(made.strata, ERROR) == []


def test_what_is_in_flight_to_an_ejected_endpoint_does_not_count_either():
    made = bad_instance()
    leave_out(made, proven_instances(made, 0)[0])
    late = with_endpoints("v3", 61, a=(10, 10), b=(1, 10))
    late.fell_back, late.faults = 11, {"HTTP 500": 11}
    gather(made, [late], CHECKS)
    left = made.strata[0].challenger
    assert (left.requests, left.errors, left.fell_back, left.faults) == (1210, 1, 1, {"HTTP 500": 1})
    assert split_counts(made.strata, ERROR) == [SplitCounts(0.5, 1, 0, 1210, 1200)]
    assert made.instances["v3"].log_e(ERROR, "a") == 0


def test_what_comes_after_an_endpoint_was_taken_back_counts():
    made = bad_instance()
    leave_out(made, proven_instances(made, 0)[0])
    take_back(made, "v3", "a")
    gather(made, [with_endpoints("v3", 61, a=(1, 10))], CHECKS)
    assert made.ejected == []
    assert made.strata[0].challenger.by_endpoint["a"] == {REQUESTS: 10, ERROR: 1}
    assert made.strata[0].challenger.requests == 1210


def slow_cell(second: int) -> Cell:
    made = with_endpoints("v3", second, a=(0, 10), b=(0, 10), c=(0, 10))
    made.duration = type(made.duration).of([0.3] * 8 + [0.02] * 22)
    made.by_endpoint["a"][SLOW] = 8
    return made


def test_slow_answers_of_an_ejected_endpoint_are_taken_from_the_durations():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    for second in range(60):
        gather(made, [slow_cell(second + 1), cell("v2", 30)], CHECKS)
    [bad] = proven_instances(made, 0)
    assert bad.kind == SLOW
    assert "were too slow for 'p90 latency <= 100ms'" in str(bad)
    leave_out(made, bad)
    left = made.strata[0].challenger.duration
    assert left.count == 1200 and left.quantile(1.0) == pytest.approx(0.02, rel=0.01)
    assert all(found.verdict is Verdict.PASS for found in evaluate(given_input(made)))


def test_slow_answers_of_an_ejected_champion_are_taken_from_the_baseline():
    made = bad_instance(backend="v2")
    count = made.baseline.count
    leave_out(made, proven_instances(made, 0)[0])
    assert made.baseline.count == count - 600


def test_a_fail_says_where_an_instance_and_the_model_cannot_be_told_apart():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    gather(made, [with_endpoints("v3", 0, a=(300, 900)), cell("v2", 900)], CHECKS)
    findings = {found.check: found for found in evaluate(given_input(made))}
    fail = findings[CHECKS[0].title]
    assert fail.verdict is Verdict.FAIL
    assert fail.reason.endswith(
        "; all of it is from its only endpoint, so the instance may be bad instead of the model"
    )
    assert "only endpoint" not in findings[SLOW].reason


def test_a_fail_is_held_back_as_long_as_it_needs_a_bad_instance():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    gather(
        made, [with_endpoints("v3", 0, a=(200, 400), b=(4, 400), c=(4, 400)), cell("v2", 1200, 12)], CHECKS
    )
    findings = {found.check: found for found in evaluate(given_input(made))}
    for limit in CHECKS[:2]:
        found = findings[limit.title]
        assert found.verdict is not Verdict.FAIL
        assert (
            "it may be the instance, not the model: of a of v3 200 of 400 requests failed there"
            in found.reason
        )


def test_a_fail_that_holds_without_the_bad_instance_is_one():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    gather(
        made, [with_endpoints("v3", 0, a=(300, 400), b=(80, 400), c=(80, 400)), cell("v2", 1200, 12)], CHECKS
    )
    assert bad_endpoints(made.strata, ERROR)
    findings = {found.check: found.verdict for found in evaluate(given_input(made))}
    assert [findings[limit.title] for limit in CHECKS[:2]] == [Verdict.FAIL, Verdict.FAIL]


COUNTS = st.lists(
    st.fixed_dictionaries({name: st.tuples(st.integers(0, 5), st.integers(5, 9)) for name in "abc"}),
    max_size=8,
)


@given(COUNTS, COUNTS, st.sampled_from(["v3", "v2"]), st.sampled_from("abc"), st.booleans())
def test_whatever_is_left_out_counts_stay_possible(before, after, backend, endpoint, timed):
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.3)
    for second, counts in enumerate([*before, *after], start=1):
        if second == len(before) + 1:
            leave_out(made, BadEndpoint(backend, endpoint, ERROR, 1, 2, 0, 2))
        for name in ("v3", "v2"):
            gather(made, [with_endpoints(name, second * timed, **counts)], CHECKS)
    if after:
        for side in event_totals(made.strata, ERROR):
            assert 0 <= side.first <= side.all <= side.n
        left = cell_of(made.strata[0], "challenger" if backend == "v3" else "champion")
        rest = [x for counts in [*before, *after] for name, x in counts.items() if name != endpoint]
        assert endpoint not in left.by_endpoint
        assert (left.errors, left.requests) == (sum(x for x, _ in rest), sum(n for _, n in rest))
    assert all(isfinite(found.evidence or 0.0) for found in evaluate(given_input(made)))
