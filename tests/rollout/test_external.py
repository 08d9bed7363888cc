"""Checks of a Prometheus query: the number is compared with the limit, and a result without a number never passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.external import Reading, evaluate_external
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict

from .counting import check

SINCE = 100.0


def prometheus_check(**bound: float) -> Check:
    return check("prometheus", name="gpu", query="q", **(bound or {"max": 0.5}))


def evaluated(reading: Reading | None, **bound: float) -> Finding:
    (finding,) = evaluate_external(
        [prometheus_check(**bound)], {} if reading is None else {"q": reading}, SINCE
    )
    return finding


@pytest.mark.parametrize(
    ("value", "bound", "verdict"),
    [
        (0.5, {"max": 0.5}, Verdict.PASS),
        (0.51, {"max": 0.5}, Verdict.FAIL),
        (0.5, {"min": 0.5}, Verdict.PASS),
        (-1.0, {"min": 0.0}, Verdict.FAIL),
        (0.0, {"max": 0.0}, Verdict.PASS),
    ],
)
def test_a_number_is_compared_with_its_limit(value: float, bound: dict[str, float], verdict: Verdict):
    finding = evaluated(Reading(SINCE, value), **bound)
    assert (finding.verdict, finding.estimate) == (verdict, value)
    (limit,) = bound.values()
    assert finding.reason == f"the query result is {value:.6g}; the limit is {limit:.6g}"


@pytest.mark.parametrize("reading", [None, Reading(SINCE - 0.1, 0.1), Reading(SINCE - 0.1, None, "no data")])
def test_a_result_from_before_the_step_is_not_used(reading: Reading | None):
    assert evaluated(reading).verdict is Verdict.UNDECIDED


@given(st.text(min_size=1))
def test_a_result_that_is_no_number_is_void_and_the_reason_describes_it(trouble: str):
    finding = evaluated(Reading(SINCE, None, trouble))
    assert finding.verdict is Verdict.VOID
    assert trouble in finding.reason


def test_each_check_has_its_own_query():
    other = check("prometheus", query="p", max=1)
    readings = {"q": Reading(SINCE, 2.0), "p": Reading(SINCE, 1.0)}
    found = evaluate_external([prometheus_check(), other], readings, SINCE)
    assert [v.verdict for v in found] == [Verdict.FAIL, Verdict.PASS]
    assert [v.check for v in found] == ["prometheus gpu <= 0.5", "prometheus p <= 1"]
