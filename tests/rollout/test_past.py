"""A challenger that has all of the traffic is compared with the champion's past."""

from __future__ import annotations

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import MIN_FOR_QUANTILE, Evidence, fix_limits
from crossfade.rollout.past import MIN_BEFORE, SAME_LOOK, is_alone, most_before
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.rollout.verdict_rule import Share

from .counting import CONTEXT, cell, check, evidence, gather

ERRORS = check("error_rate", max_increase="1%")
RATIO = check("latency", quantile="p90", max_ratio=1.5)
IN_WATCH = CONTEXT._replace(step=1, steps=1)
TIMES = [0.001 * i for i in range(1, 101)]  # p90 is 90 ms
BLAME = "a cause outside the model, such as a busy hour in which every model fails, would look the same"


def alone(share: float = 0.1, times: list[float] | None = None) -> Evidence:
    """A step with both, in which 1 % of the champion's 20 000 requests failed, and then a step in which v3 has all."""
    n = 20_000
    made = evidence(
        cell("v2", n, n // 100, times=TIMES * (n // 100)), cell("v3", 100, 1), share=share, checks=(RATIO,)
    )
    made.open("r", 3, 1, 1.0)
    return made


def errors_in_watch(n: int, errors: int) -> Finding:
    made = alone()
    gather(made, [cell("v3", n, errors, version=3)], (RATIO,))
    return evaluate_check(ERRORS, made, IN_WATCH)


@pytest.mark.parametrize(
    ("n", "errors", "verdict"),
    [
        (1000, 10, "PASS"),
        (1000, 20, "PASS"),
        (1000, 30, "UNDECIDED"),
        (1000, 50, "FAIL"),
        (50, 0, "UNDECIDED"),
    ],
)
def test_errors_against_the_champion_s_share_before_and_the_margin(n, errors, verdict):
    """The upper limit of 1 % among 20 000 is 1.25 %, so 2.25 % are allowed."""
    assert errors_in_watch(n, errors).verdict == verdict


def test_the_reason_says_that_nobody_is_left_to_compare_with():
    found = errors_in_watch(1000, 80)
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith(
        "80 of 1000 requests (8%) failed in the watch; nobody is left to compare with, so the limit is 2.25%, from 200 "
        f"of the champion's 20000 requests before; {BLAME}; proven at "
    )
    assert SAME_LOOK not in errors_in_watch(1000, 30).reason


def test_what_the_champion_did_before_the_challenger_had_any_traffic_counts():
    """As in blue_green, where the two never share the traffic."""
    made = Evidence.begin("v2", "v3", cell("v2", 20_000, 200))
    made.open("r", 2, 0, 1.0)
    gather(made, [cell("v3", 1000, 50)], ())
    found = evaluate_check(ERRORS, made, CONTEXT)
    assert (found.verdict, found.estimate) == (Verdict.FAIL, 0.05)
    assert "from 200 of the champion's 20000 requests before" in found.reason


def test_without_a_past_there_is_nothing_to_compare():
    made = Evidence.begin("v2", "v3", cell("v2", MIN_BEFORE - 1))
    made.open("r", 2, 0, 1.0)
    gather(made, [cell("v3", 1000, 500)], ())
    found = evaluate_check(ERRORS, made, CONTEXT)
    assert (found.verdict, found.reason.partition(":")[0]) == (Verdict.VOID, "nothing to compare")


def slow_alone(times: list[float]) -> Evidence:
    made = alone()
    gather(made, [cell("v3", len(times), version=3, times=times)], (RATIO,))
    return made


def slow_in_watch(times: list[float]) -> Finding:
    return evaluate_check(RATIO, slow_alone(times), IN_WATCH)


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (TIMES * 4, "PASS"),
        ([t * 1.3 for t in TIMES] * 4, "PASS"),
        ([t * 1.52 for t in TIMES] * 4, "PASS"),
        ([t * 1.7 for t in TIMES], "UNDECIDED"),
        ([t * 2 for t in TIMES] * 4, "VOID"),
    ],
)
def test_latency_against_the_champion_s_before(times, verdict):
    assert slow_in_watch(times).verdict == verdict


def test_the_reason_of_a_slow_challenger():
    found = slow_in_watch([t * 2 for t in TIMES] * 4)
    assert found.reason.startswith(
        "124 of 400 requests (31%) took longer than 139ms in the watch, which is 1.5 times the champion's p90 latency "
        "before; nobody is left to compare with, so the limit is "
    )
    assert BLAME in found.reason
    assert found.estimate == pytest.approx(2, rel=0.03)


def test_a_late_change_of_latency_is_told_with_the_numbers_of_the_late_part():
    made = alone()
    gather(made, [cell("v3", 20_000, version=3, times=TIMES * 200)], (RATIO,))
    for _ in range(4):
        gather(made, [cell("v3", 100, version=3, times=[t * 2 for t in TIMES])], (RATIO,))
    found = evaluate_check(RATIO, made, IN_WATCH)
    assert found.verdict is Verdict.VOID
    assert "its endpoints have had more load since the promote" in found.reason
    assert "of the latest 400 requests took longer than that (all in all: " in found.reason


def test_before_a_promote_a_slow_challenger_fails():
    """As in blue_green: the champion had all of the traffic too."""
    found = evaluate_check(
        RATIO, slow_alone([t * 2 for t in TIMES] * 4), IN_WATCH._replace(steps=IN_WATCH.step + 1)
    )
    assert found.verdict is Verdict.FAIL


def test_latency_without_a_past_has_nothing_to_compare():
    made = Evidence.begin("v2", "v3", cell("v2", MIN_FOR_QUANTILE - 1))
    fix_limits(made, (RATIO,))
    made.open("r", 2, 0, 1.0)
    gather(made, [cell("v3", 1000)], (RATIO,))
    assert evaluate_check(RATIO, made, CONTEXT).verdict is Verdict.VOID


@pytest.mark.parametrize(
    ("shares", "expected"), [((1.0,), True), ((1.0, 0.98), False), ((0.98,), False), ((0.0,), False)]
)
def test_a_challenger_is_alone_where_no_champion_has_traffic(shares, expected):
    made = Evidence("v2", "v3")
    for version, share in enumerate(shares):
        made.open("r", version, 0, share)
    assert is_alone(made, 0) is expected


@pytest.mark.parametrize(
    ("x", "n", "margin", "most"),
    [(0, 0, 0.0, 0.7496), (200, 20_000, 0.0, 0.01251), (200, 20_000, 0.01, 0.02251), (900, 1000, 0.5, 0.999)],
)
def test_the_most_that_is_allowed(x, n, margin, most):
    """Wilson's upper limit at z = 2.576 of x + 10 among n + 20."""
    assert most_before(Share(x, n), margin) == pytest.approx(most, abs=2e-4)
