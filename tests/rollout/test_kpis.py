"""Checks of KPIs: a gain must be proven, a loss is a FAIL, and one-sided feedback is VOID."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import count

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpi_evidence import FIRST_UNITS
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Ripe
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext

from .counting import CONTEXT, check, evidence, ripened

PASS, FAIL, UNDECIDED, VOID = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID
GAIN = check("kpi", name="conversion", kind="event", min_increase=0)
NO_LOSS = check("kpi", name="conversion", kind="event", min_increase=-0.02)
COST = check("kpi", name="conversion", kind="event", max_increase=0.02)
MOST = check("kpi", name="conversion", kind="event", max=0.2)
LEAST = check("kpi", name="conversion", kind="event", min=0.1)
AMOUNT = check("kpi", name="conversion", min_increase=0)
AT_LEAST = check("kpi", name="conversion", min=0.9)
RANGE = check("kpi", name="conversion", range=[0, 10], min_increase=0)
RANGE_AT_LEAST = check("kpi", name="conversion", range=[0, 10], min=0.9)
UNITS = count(1)


def events(n: int, x: int) -> list[float]:
    return [1.0] * x + [0.0] * (n - x)


def converted(question: Check, n: int, x: int, rest_n: int, rest_x: int, share: float = 0.5) -> Evidence:
    return fed(question, events(n, x), events(rest_n, rest_x), share)


def fed(question: Check, here: Iterable[float], rest: Iterable[float], share: float = 0.5) -> Evidence:
    made = evidence(share=share, checks=(question,))
    ripened(made, returned("v3", here), returned("v2", rest), checks=(question,))
    return made


def returned(
    backend: str, values: Iterable[float | str], version: int = 2, keys: Iterable[int] = ()
) -> list[Ripe]:
    """Values of requests without a key, or of these customers."""
    keys, values = list(keys), list(values)
    units = keys or [next(UNITS) for _ in values]
    return [
        Ripe(0, version, backend, unit, bool(keys), {"conversion": value})
        for value, unit in zip(values, units, strict=True)
    ]


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
    assert evaluate_check(question, converted(question, *here, *rest), CONTEXT).verdict is verdict


@pytest.mark.parametrize("question", [GAIN, COST, MOST])
def test_without_feedback_a_check_is_undecided(question):
    assert evaluate_check(question, evidence(), CONTEXT).verdict is UNDECIDED
    assert evaluate_check(question, evidence(share=1.0), CONTEXT).verdict is VOID


def revenue(rng: random.Random, n: int, mean: float) -> list[float]:
    return [mean * rng.lognormvariate(-0.125, 0.5) for _ in range(n)]


def after_the_first(question: Check, rng: random.Random, n: int, means: tuple[float, float]) -> Evidence:
    """The first units fix the scale in a tick before; both sides are alike there."""
    made = fed(question, revenue(rng, FIRST_UNITS // 2, 1.0), revenue(rng, FIRST_UNITS // 2, 1.0))
    here, rest = revenue(rng, n, means[0]), revenue(rng, n, means[1])
    ripened(made, returned("v3", here), returned("v2", rest), checks=(question,))
    return made


@pytest.mark.parametrize(
    ("question", "mean", "rest", "n", "verdict"),
    [
        (AMOUNT, 1.5, 1.0, 2000, PASS),
        (AMOUNT, 1.0, 1.0, 2000, UNDECIDED),
        (AMOUNT, 0.5, 1.0, 2000, FAIL),
        (AMOUNT, 2.0, 1.0, 60, UNDECIDED),
        (AT_LEAST, 1.0, 1.0, 2000, PASS),
        (AT_LEAST, 0.5, 1.0, 2000, FAIL),
        (AT_LEAST, 0.5, 0.5, 2000, VOID),  # a common cause
        (AT_LEAST, 0.4, 0.8, 2000, FAIL),  # the champion is beyond the limit too, but the challenger is worse
        (RANGE, 1.5, 1.0, 2000, PASS),
        (RANGE, 1.0, 1.0, 2000, UNDECIDED),
        (RANGE, 0.5, 1.0, 4000, FAIL),
        (RANGE_AT_LEAST, 1.0, 1.0, 2000, PASS),
        (RANGE_AT_LEAST, 0.4, 1.0, 4000, FAIL),
        (RANGE_AT_LEAST, 0.4, 0.4, 4000, VOID),
    ],
)
def test_amounts(question, mean, rest, n, verdict):
    finding = evaluate_check(question, after_the_first(question, random.Random(4), n, (mean, rest)), CONTEXT)
    assert finding.verdict is verdict
    if question.range is None:
        assert finding.interval is not None
        assert finding.estimate is not None
        assert finding.interval[0] < finding.estimate < finding.interval[1]


def test_the_first_units_fix_the_scale_and_are_not_counted():
    made = fed(AMOUNT, [1.0, 2.0] * 50, [1.0, 2.0] * 49)
    finding = evaluate_check(AMOUNT, made, CONTEXT)
    assert finding.verdict is UNDECIDED
    assert finding.reason.startswith(
        "198 customers or requests gave feedback; the first 200 that are not all alike fix"
    )
    ripened(made, returned("v2", [1.0, 2.0]), checks=(AMOUNT,))
    kept = made.kpis[AMOUNT.title]
    assert kept.scale is not None and kept.scale.planned == pytest.approx(0.25 * 0.25 * 10_000)
    assert (kept.here.n, kept.rest.n) == (0, 0)


def test_all_steps_count_together_each_with_its_own_weight():
    """Both sides convert more at the second weight. Pooled, the challenger would look far better than it is."""
    made = converted(GAIN, 500, 5, 9500, 95, share=0.05)
    made.open("r", 3, 1, 0.5)
    ripened(
        made, returned("v3", events(5000, 1500), 3), returned("v2", events(5000, 1500), 3), checks=(GAIN,)
    )
    finding = evaluate_check(GAIN, made, CheckContext(1, 100, 0.002, 0.01))
    assert (finding.verdict, finding.n) == (UNDECIDED, 5500)
    assert finding.estimate == pytest.approx(0, abs=1e-9)


def test_one_sided_feedback_is_void_where_none_says_a_number_too():
    question = check("kpi", name="conversion", kind="event", missing=0, min_increase=0)
    finding = evaluate_check(question, fed(question, events(500, 250), events(1700, 150)), CONTEXT)
    assert finding.verdict is VOID
    assert "% of the feedback is for the challenger, but its weight is 50%" in finding.reason


@pytest.mark.parametrize("question", [GAIN, AMOUNT, RANGE])
def test_one_sided_feedback_is_void(question):
    made = fed(question, events(100, 50), events(100, 50))
    ripened(made, returned("v3", events(400, 200)), returned("v2", events(1600, 100)), checks=(question,))
    finding = evaluate_check(question, made, CONTEXT)
    assert finding.verdict is VOID
    assert "% of the ripe predictions are the challenger's, but its weight is 50%" in finding.reason


def test_customers_that_give_many_values_are_few_units():
    """A third of ten customers at each side have all of the events; the values of each customer are alike."""
    made = fed(AMOUNT, revenue(random.Random(1), 150, 1.0), revenue(random.Random(2), 150, 1.0))
    here, rest = range(1, 11), range(11, 21)
    rows = [
        returned(name, [value] * 200, keys=[key for key in keys for _ in range(20)])
        for name, keys, value in (("v3", here, 0.2), ("v2", rest, 1.0))
    ]
    ripened(made, *rows, checks=(AMOUNT,))
    finding = evaluate_check(AMOUNT, made, CONTEXT)
    assert finding.verdict is UNDECIDED and finding.evidence == 0
    assert finding.reason.startswith(
        "conversion is 0.2 over 200 of 10 customers against the champion's 1 over 200 of 10"
    )


@pytest.mark.parametrize(("question", "value"), [(GAIN, 2.0), (GAIN, 0.5), (AMOUNT, 1e101)])
def test_a_value_that_the_check_cannot_use_is_void_and_named(question, value):
    made = fed(question, events(500, 50), [*events(500, 50), value])
    finding = evaluate_check(question, made, CONTEXT)
    assert finding.verdict is VOID
    assert f"conversion has the value {value:.10g} in the feedback" in finding.reason


def test_the_reason_contains_the_means_and_the_limit():
    assert evaluate_check(GAIN, converted(GAIN, 1000, 200, 1000, 100), CONTEXT).reason.startswith(
        "conversion is 0.2 over 1000 against the champion's 0.1 over 1000, +0.1 at equal weights; the limit is at least +0"
    )
    assert evaluate_check(MOST, converted(MOST, 500, 200, 500, 60), CONTEXT).reason.startswith(
        "conversion is 0.4 over 500; the limit is 0.2"
    )
    assert evaluate_check(MOST, converted(MOST, 500, 200, 500, 200), CONTEXT).reason.endswith(
        "the challenger is not proven worse than the champion (0.4 over 500): a common cause"
    )


def test_the_reason_says_what_the_test_does_not_know():
    made = fed(AMOUNT, [1.0, 0.0] * 100, [1.0, 0.0] * 100)
    ripened(made, returned("v3", [31.0, *[1.0] * 40]), returned("v2", [1.0, 0.0] * 29), checks=(AMOUNT,))
    assert (
        "; one value is 31% of the sum: the interval may miss rare large amounts"
        in evaluate_check(AMOUNT, made, CONTEXT).reason
    )
    made = fed(RANGE, [1.0, 0.0] * 100, [1.0, 0.0] * 100)
    ripened(made, returned("v3", [31.0, *[1.0] * 99]), returned("v2", [-1.0, *[1.0] * 99]), checks=(RANGE,))
    assert (
        "; 1% of the values were outside the range and moved to its ends"
        in evaluate_check(RANGE, made, CONTEXT).reason
    )
