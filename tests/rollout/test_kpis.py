"""Checks of KPIs: a gain must be proven, a loss is a FAIL, and one-sided feedback is VOID."""

from __future__ import annotations

import random

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, gather
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import Cell
from crossfade.stats.means import Moments

from .counting import CONTEXT, cell, check, evidence

PASS, FAIL, UNDECIDED, VOID = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID
GAIN = check("kpi", name="conversion", min_increase=0)
NO_LOSS = check("kpi", name="conversion", min_increase=-0.02)
COST = check("kpi", name="conversion", max_increase=0.02)
MOST = check("kpi", name="conversion", max=0.2)
LEAST = check("kpi", name="conversion", min=0.1)


def converted(n: int, x: int, rest_n: int, rest_x: int, share: float = 0.5) -> Evidence:
    return evidence(
        returned("v3", Moments(n, x, x)), returned("v2", Moments(rest_n, rest_x, rest_x)), share=share
    )


def returned(backend: str, moments: Moments, version: int = 2) -> Cell:
    made = cell(backend, moments.n, version=version, times=())
    made.kpis["conversion"] = moments
    return made


@pytest.mark.parametrize(
    ("question", "here", "rest", "verdict"),
    [
        (GAIN, (1000, 100), (1000, 100), UNDECIDED),  # an equal mean is no gain
        (GAIN, (1000, 130), (1000, 100), UNDECIDED),
        (GAIN, (1000, 200), (1000, 100), PASS),
        (GAIN, (1000, 100), (1000, 200), FAIL),
        (NO_LOSS, (20_000, 2000), (20_000, 2000), PASS),  # proven to be at most two points worse
        (NO_LOSS, (200, 20), (200, 20), UNDECIDED),
        (NO_LOSS, (2000, 100), (2000, 400), FAIL),
        (COST, (200, 20), (200, 20), PASS),
        (COST, (99, 9), (99, 9), UNDECIDED),
        (COST, (2000, 400), (2000, 100), FAIL),
        (MOST, (500, 60), (500, 60), PASS),
        (MOST, (500, 200), (500, 60), FAIL),
        (MOST, (500, 200), (500, 200), VOID),
        (LEAST, (500, 60), (500, 60), PASS),
        (LEAST, (500, 10), (500, 60), FAIL),
        (LEAST, (500, 10), (500, 10), VOID),
    ],
)
def test_conversion_rates(question, here, rest, verdict):
    assert evaluate_check(question, converted(*here, *rest), CONTEXT).verdict is verdict


@pytest.mark.parametrize("question", [GAIN, COST, MOST])
def test_without_feedback_a_check_is_undecided(question):
    assert evaluate_check(question, evidence(), CONTEXT).verdict is UNDECIDED
    assert evaluate_check(question, evidence(share=1.0), CONTEXT).verdict is VOID


def revenue(rng: random.Random, n: int, mean: float) -> Moments:
    out = Moments()
    for _ in range(n):
        out.add(mean * rng.lognormvariate(-0.125, 0.5))
    return out


@pytest.mark.parametrize(
    ("mean", "n", "verdict"),
    [(1.5, 2000, PASS), (1.0, 2000, UNDECIDED), (0.5, 2000, FAIL), (2.0, 60, UNDECIDED)],
)
def test_means_of_numbers_that_are_not_0_or_1(mean, n, verdict):
    rng = random.Random(4)
    made = evidence(returned("v3", revenue(rng, n, mean)), returned("v2", revenue(rng, n, 1.0)), share=0.5)
    finding = evaluate_check(GAIN, made, CONTEXT)
    assert finding.verdict is verdict
    assert finding.interval is not None
    assert finding.estimate is not None
    assert finding.interval[0] < finding.estimate < finding.interval[1]


def test_all_steps_count_together_each_with_its_own_weight():
    """Both sides convert more at the second weight. Pooled, the challenger would look far better than it is."""
    made = converted(500, 5, 9500, 95, share=0.05)
    made.open("r", 3, 1, 0.5)
    gather(
        made,
        [returned("v3", Moments(5000, 1500, 1500), 3), returned("v2", Moments(5000, 1500, 1500), 3)],
        (),
    )
    finding = evaluate_check(GAIN, made, CheckContext(1, 100, 0.002, 0.01))
    assert (finding.verdict, finding.n) == (UNDECIDED, 5500)
    assert finding.estimate == pytest.approx(0, abs=1e-9)


def test_one_sided_feedback_is_void():
    finding = evaluate_check(GAIN, converted(400, 200, 1600, 100), CONTEXT)
    assert finding.verdict is VOID
    assert finding.reason.endswith("; 20% of the feedback is for the challenger, but its weight is 50%")


def test_the_reason_contains_the_means_and_the_limit():
    assert evaluate_check(GAIN, converted(1000, 200, 1000, 100), CONTEXT).reason.startswith(
        "conversion is 0.2 over 1000 against the champion's 0.1 over 1000, +0.1 at equal weights; the limit is at least +0"
    )
    assert evaluate_check(MOST, converted(500, 200, 500, 60), CONTEXT).reason.startswith(
        "conversion is 0.4 over 500; the limit is 0.2"
    )
    assert evaluate_check(MOST, converted(500, 200, 500, 200), CONTEXT).reason.endswith(
        "the champion is beyond the limit too (0.4): a common cause"
    )
