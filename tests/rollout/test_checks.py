"""Each check against tables of counts, and the level of all checks together at continuous looks."""

from __future__ import annotations

import random

import msgspec
import pytest
from msgspec.structs import replace

from crossfade.config.model import RolloutConfig, StepConfig
from crossfade.rollout.checks import evaluate_check, evaluate_checks
from crossfade.rollout.evidence import MIN_FOR_QUANTILE, split_counts
from crossfade.rollout.plan import Check, Plan
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import ERROR
from crossfade.stats.differences import log_e_increase
from crossfade.stats.sequential import bound

from .counting import CONTEXT, cell, check, evidence, gather

PASS, FAIL, UNDECIDED, VOID = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID
MAX = check("error_rate", max="1%")
INCREASE = check("error_rate", max_increase="1%")
SLOW = check("latency", quantile="p90", max="200ms")
RATIO = check("latency", quantile="p90", max_ratio=1.5)
TIMES = [0.1] * 95 + [0.15] * 5


def challenger(n: int, errors: int = 0, champion: tuple[int, int] = (2000, 0)):
    return evidence(cell("v3", n, errors), cell("v2", *champion))


@pytest.mark.parametrize(
    ("n", "errors", "champion", "verdict"),
    [
        (0, 0, (0, 0), UNDECIDED),
        (99, 0, (2000, 0), UNDECIDED),  # too few requests are no PASS
        (100, 0, (2000, 0), PASS),
        (200, 2, (2000, 0), PASS),
        (200, 3, (2000, 0), UNDECIDED),  # above the limit, but not significantly
        (200, 15, (2000, 0), FAIL),
        (20, 8, (2000, 0), FAIL),  # a FAIL needs no min_requests
        (200, 15, (2000, 25), FAIL),  # the champion is over the limit too, but the challenger is worse
        (200, 15, (2000, 130), VOID),  # and here it is not: a common cause
        (200, 15, (2000, 20), FAIL),
        (200, 15, (10, 1), FAIL),  # one error of the champion shows no common cause
        (200, 2, (2000, 500), PASS),
    ],
)
def test_error_rate_max(n, errors, champion, verdict):
    finding = evaluate_check(MAX, challenger(n, errors, champion), CONTEXT)
    assert finding.verdict is verdict
    assert finding.n == n
    assert finding.bound == bound(CONTEXT.alpha)


@pytest.mark.parametrize(
    ("n", "errors", "champion", "verdict"),
    [
        (99, 0, (2000, 0), UNDECIDED),
        (500, 0, (99, 0), UNDECIDED),  # too few requests of the champion
        (200, 2, (2000, 20), PASS),
        (200, 6, (2000, 20), UNDECIDED),
        (400, 60, (2000, 20), FAIL),
        (400, 60, (2000, 300), PASS),  # the same share on both sides is no increase
        (200, 30, (2000, 0), FAIL),  # a champion without errors is no obstacle
    ],
)
def test_error_rate_increase(n, errors, champion, verdict):
    assert evaluate_check(INCREASE, challenger(n, errors, champion), CONTEXT).verdict is verdict


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("question", [INCREASE, RATIO])
def test_a_comparison_without_traffic_on_both_sides_is_void(question, share):
    made = evidence(cell("v3", 500), share=share)
    assert evaluate_check(question, made, CONTEXT).verdict is VOID


@pytest.mark.parametrize("question", [MAX, INCREASE, SLOW, RATIO])
def test_before_the_first_request_a_check_is_undecided(question):
    for empty in (evidence(), evidence(share=1.0) if question in (MAX, SLOW) else evidence()):
        assert evaluate_check(question, empty, CONTEXT).verdict is UNDECIDED
    assert (
        evaluate_check(question, evidence(), CheckContext(3, 100, 0.01, 0.01)).verdict is UNDECIDED
    )  # a step not yet begun


def test_at_full_weight_comparisons_use_the_step_before_where_little_is_known_of_the_past():
    made = challenger(400, 60, (400, 4))
    made.open("r", 3, 1, 1.0)
    gather(made, [cell("v3", 1000, 0, version=3)], ())
    assert evaluate_check(INCREASE, made, CheckContext(1, 100, 0.002, 0.01)).verdict is FAIL
    assert (
        evaluate_check(MAX, made, CheckContext(1, 100, 0.002, 0.01)).verdict is PASS
    )  # of its own step only


def latencies(slow: int, n: int = 200, champion_slow: int = 20, limit: float = 0.5):
    times = [limit] * slow + [0.02] * (n - slow)
    other = [limit] * champion_slow + [0.02] * (2000 - champion_slow)
    return evidence(cell("v3", n, times=times), cell("v2", 2000, times=other), checks=(SLOW,))


@pytest.mark.parametrize(
    ("slow", "n", "champion_slow", "verdict"),
    [
        (0, 0, 0, UNDECIDED),
        (0, 99, 0, UNDECIDED),
        (18, 200, 20, PASS),
        (26, 200, 20, UNDECIDED),
        (60, 200, 20, FAIL),
        (60, 200, 400, VOID),
    ],
)
def test_latency_max(slow, n, champion_slow, verdict):
    finding = evaluate_check(SLOW, latencies(slow, n, champion_slow), CONTEXT)
    assert finding.verdict is verdict
    if verdict is FAIL:
        assert finding.estimate == pytest.approx(0.5, rel=0.02)


def test_answers_in_the_bucket_of_the_limit_are_within_the_limit():
    assert evaluate_check(SLOW, latencies(150, limit=0.2), CONTEXT).verdict is PASS


def compared(times: list[float], n: int = 100, ticks: int = 4):
    made = evidence(cell("v2", MIN_FOR_QUANTILE, times=TIMES * (MIN_FOR_QUANTILE // 100)), checks=(RATIO,))
    for _ in range(ticks):
        gather(made, [cell("v2", 900, times=TIMES * 9), cell("v3", n, times=times[:n])], (RATIO,))
    return made


@pytest.mark.parametrize(
    ("times", "n", "ticks", "verdict"),
    [
        (TIMES, 100, 4, PASS),
        (TIMES, 10, 4, UNDECIDED),
        ([0.14] * 100, 100, 4, PASS),
        ([0.2] * 100, 100, 4, FAIL),
        ([0.2] * 12 + [0.1] * 88, 100, 1, UNDECIDED),
    ],
)
def test_latency_ratio(times, n, ticks, verdict):
    assert evaluate_check(RATIO, compared(times, n, ticks), CONTEXT).verdict is verdict


def test_latency_ratio_is_undecided_until_the_champion_has_500_answers():
    finding = evaluate_check(RATIO, evidence(cell("v2", 30), cell("v3", 300), checks=(RATIO,)), CONTEXT)
    assert (finding.verdict, finding.reason) == (
        UNDECIDED,
        "nothing to compare yet: the champion has 30 of 500 answers that are needed",
    )


def test_requests_min_passes_or_is_undecided():
    many = check("requests", min=150)
    short = evaluate_check(many, challenger(100), CONTEXT)
    assert (short.verdict, short.eta_requests) == (UNDECIDED, 50)
    assert evaluate_check(many, challenger(150), CONTEXT).verdict is PASS


def test_a_check_that_is_not_measured_is_void_and_the_reason_says_so():
    question = check("prometheus", query="up", max=1)
    finding = evaluate_check(question, challenger(1000), CONTEXT)
    assert (finding.verdict, finding.check) == (VOID, question.title)
    assert finding.reason.endswith("is not measured by this version")


def test_a_limit_of_zero_can_fail_and_a_limit_of_one_cannot():
    assert evaluate_check(check("error_rate", max=0), challenger(200, 5), CONTEXT).verdict is FAIL
    assert evaluate_check(check("error_rate", max=0), challenger(200, 0), CONTEXT).verdict is PASS
    assert evaluate_check(check("error_rate", max=1), challenger(200, 200), CONTEXT).verdict is PASS
    assert evaluate_check(check("error_rate", max_increase=0), challenger(200, 10), CONTEXT).verdict is FAIL


def test_reasons_contain_the_value_the_comparison_and_the_limit():
    failed = challenger(400, 60, (2000, 20))
    failed.strata[0].challenger.faults = {"500": 40, "first_byte_timeout": 20}
    assert evaluate_check(MAX, failed, CONTEXT).reason.startswith(
        "60 of 400 requests (15%) failed in step 1 of 1: 40 × HTTP 500, 20 × first-byte timeout; the limit is 1%; proven at "
    )
    assert evaluate_check(INCREASE, failed, CONTEXT).reason.startswith(
        "60 of 400 requests (15%) failed in step 1 of 1: 40 × HTTP 500, 20 × first-byte timeout, against 1% of the "
        "champion's 2000; allowed is 1% more; at least "
    )
    assert evaluate_check(SLOW, latencies(60), CONTEXT).reason.startswith(
        "p90 latency is 498ms over 200 answers in step 1 of 1; the limit is 200ms; proven at "
    )
    assert evaluate_check(RATIO, compared([0.2] * 100), CONTEXT).reason.startswith(
        "p90 latency is 200ms over 400 answers in step 1 of 1 against the champion's 100ms, 2 times; allowed is 1.5 times"
    )
    void = evaluate_check(MAX, challenger(200, 15, (2000, 130)), CONTEXT).reason
    assert void.endswith(
        "the limit is 1 in 500, but 130 of the champion's 2000 requests (6.5%) did too at the same time: a common cause, "
        "as long as the challenger is not proven to be worse (no evidence)"
    )


def test_findings_contain_their_numbers():
    finding = evaluate_check(INCREASE, challenger(200, 6, (2000, 20)), CONTEXT)
    assert finding.estimate == pytest.approx(0.02)
    assert finding.interval is not None
    assert finding.interval[0] < 0.02 < finding.interval[1]
    assert finding.evidence is not None
    assert finding.bound is not None
    assert finding.evidence < finding.bound
    assert finding.eta_requests


def test_the_eta_is_near_the_number_of_requests_that_decides():
    """The Wald bound: at an unchanged rate, the proof comes after about so many requests."""
    first = evaluate_check(MAX, challenger(100, 4), CONTEXT)
    assert first.verdict is UNDECIDED
    assert first.eta_requests is not None
    sooner, later = (100 + round(first.eta_requests * f) for f in (0.7, 1.4))
    assert evaluate_check(MAX, challenger(sooner, round(0.04 * sooner)), CONTEXT).verdict is UNDECIDED
    assert evaluate_check(MAX, challenger(later, round(0.04 * later)), CONTEXT).verdict is FAIL


def plan(*checks: Check, steps: int = 3, alpha: float = 0.01) -> Plan:
    written = tuple(StepConfig(weight=100 * (i + 1), min_requests=10 * (i + 1)) for i in range(steps))
    config = RolloutConfig(strategy="canary", champion="v2", challenger="v3", steps=written, alpha=alpha)
    return replace(expand(config), checks=checks)


def test_alpha_is_split_over_tests_and_steps_with_the_watch():
    findings = evaluate_checks(plan(MAX, INCREASE, check("requests", min=1)), challenger(500), 0)
    assert [v.bound for v in findings] == [bound(0.01 / 2 / 4), bound(0.01 / 2 / 4), None]


def test_each_step_needs_its_own_min_requests_and_the_watch_those_of_the_last_step():
    made = evidence()
    for step in range(4):
        made.open("r", 10 + step, step, 1.0)
        gather(made, [cell("v3", 15, version=10 + step)], ())
    found = [evaluate_checks(plan(MAX), made, step)[0].verdict for step in range(4)]
    assert found == [PASS, UNDECIDED, UNDECIDED, UNDECIDED]


def first_failure(rng: random.Random, rate: float, champion_rate: float) -> Finding | None:
    """The first FAIL in one step at 20 % weight: 40 looks, 150 requests each."""
    made = evidence(share=0.2)
    checks = plan(MAX, INCREASE, steps=1, alpha=0.05)
    for _ in range(40):
        n = sum(rng.random() < 0.2 for _ in range(150))
        errors = sum(rng.random() < rate for _ in range(n))
        other = sum(rng.random() < champion_rate for _ in range(150 - n))
        gather(made, [cell("v3", n, errors, times=()), cell("v2", 150 - n, other, times=())], ())
        for finding in evaluate_checks(checks, made, 0):
            if finding.verdict is FAIL:
                return finding
    return None


def test_a_healthy_challenger_is_not_aborted_at_continuous_looks():
    rng = random.Random(11)
    aborted = sum(first_failure(rng, 0.008, 0.008) is not None for _ in range(60))
    assert aborted <= 3  # alpha is 5 %; a threshold on the running share aborts most of them


def test_a_challenger_with_many_errors_fails():
    rng = random.Random(12)
    assert all(first_failure(rng, 0.08, 0.008) is not None for _ in range(10))


@pytest.mark.parametrize("question", [MAX, INCREASE])
def test_a_late_change_in_a_step_is_found_before_the_test_from_the_start_finds_it(question):
    made = evidence(checks=(question,))
    for _ in range(50):
        gather(made, [cell("v3", 100, times=()), cell("v2", 900, 3, times=())], (question,))
    found = 0
    while evaluate_check(question, made, CONTEXT).verdict is not FAIL:
        gather(made, [cell("v3", 10, 1, times=()), cell("v2", 90, times=())], (question,))
        found += 10
    assert found <= 250  # the test from the start alone needs more than twice as many
    assert log_e_increase(split_counts(made.strata, ERROR), 0.01) < bound(CONTEXT.alpha)


@pytest.mark.parametrize(
    ("question", "made", "kept"),
    [
        (MAX, challenger(2000, 2), True),
        (MAX, challenger(2000, 20), False),  # at the limit
        (INCREASE, challenger(2000, 0, (18_000, 0)), True),  # without a single error on either side
        (INCREASE, challenger(2000, 40, (18_000, 180)), False),
        (INCREASE, challenger(200, 0, (1800, 0)), False),
        (SLOW, latencies(100, 2000), True),
        (SLOW, latencies(200, 2000), False),
        (RATIO, compared(TIMES, ticks=30), True),
        (RATIO, compared([0.14] * 5 + [0.2] * 10 + [0.1] * 85, ticks=30), False),
    ],
)
def test_a_finding_has_a_proof_that_the_limit_is_kept_if_the_context_asks_for_it(question, made, kept):
    finding = evaluate_check(question, made, CONTEXT._replace(prove=True))
    assert finding.proof is not None
    assert (finding.proof >= bound(0.05)) is kept
    assert evaluate_check(question, made, CONTEXT).proof is None


def test_a_plan_with_advance_early_asks_for_proof():
    early = msgspec.structs.replace(plan(MAX), advance_early=0.05)
    assert evaluate_checks(early, challenger(2000), 0)[0].proof is not None
    assert evaluate_checks(plan(MAX), challenger(2000), 0)[0].proof is None


@pytest.mark.parametrize("question", [check("error_rate", max="2%"), check("error_rate", max_increase="2%")])
def test_a_late_fault_is_told_with_the_numbers_of_the_late_part(question):
    """Its average over the step keeps the limit, so the average is no reason for a FAIL."""
    made = evidence(cell("v3", 20_000, times=()), cell("v2", 20_000, times=(), role="champion"), share=0.5)
    for _ in range(20):
        more = cell("v3", 50, 6, times=())
        more.faults = {"500": 6}
        gather(made, [more, cell("v2", 50, times=(), role="champion")], (question,))
    finding = evaluate_check(question, made, CONTEXT)
    assert (finding.verdict, round(finding.estimate or 0, 4)) == (FAIL, 0.0057)
    assert finding.reason.startswith("12% of the latest 1000 requests failed")
    assert (
        "(all in all: 120 of 21000 requests (0.571%) failed in step 1 of 1: 120 × HTTP 500" in finding.reason
    )


def test_a_late_slowdown_is_told_with_the_numbers_of_the_late_part():
    question = check("latency", quantile="p90", max="200ms")
    made = evidence(checks=[question])
    gather(made, [cell("v3", 5000, times=[0.02] * 5000)], [question])
    for _ in range(10):
        gather(made, [cell("v3", 20, times=[0.5] * 20)], [question])
    finding = evaluate_check(question, made, CONTEXT)
    assert finding.verdict is FAIL
    assert finding.reason.startswith(
        "100% of the latest 200 requests took longer than 200ms, of which 10% may (all in all: "
    )
