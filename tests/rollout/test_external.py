"""Checks of a Prometheus query: the number is compared with the limit, and a result without a number never passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.external import Reading, evaluate_external, following
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict

from .counting import check

SINCE = 100.0


def prometheus_check(**bound: Any) -> Check:
    return check("prometheus", name="gpu", query="q", **(bound or {"max": 0.5}))


def evaluated(reading: Reading | None, **bound: Any) -> Finding:
    (finding,) = evaluate_external(
        [prometheus_check(**bound)], {} if reading is None else {"q": reading}, SINCE
    )
    return finding


@pytest.mark.parametrize(
    ("value", "bound", "within"),
    [
        (0.5, {"max": 0.5}, True),
        (0.51, {"max": 0.5}, False),
        (0.5, {"min": 0.5}, True),
        (-1.0, {"min": 0.0}, False),
        (0.0, {"max": 0.0}, True),
    ],
)
def test_a_number_is_compared_with_its_limit(value: float, bound: dict[str, float], within: bool):
    """One result beyond the limit holds and aborts nothing; the same one twice is a FAIL."""
    finding = evaluated(Reading(SINCE, value), **bound)
    (limit,) = bound.values()
    assert (finding.verdict, finding.estimate) == (Verdict.PASS if within else Verdict.UNDECIDED, value)
    text = f"the query result is {value:.6g}; the limit is {limit:.6g}"
    assert finding.reason == text + ("" if within else "; 1 so far, a FAIL needs 2 in a row")
    again = evaluated(Reading(SINCE + 2, value, "", ((SINCE + 1, value),)), **bound)
    assert again.verdict is (Verdict.PASS if within else Verdict.FAIL)


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        ({}, [9, 9], Verdict.FAIL),
        ({}, [9, 0, 9], Verdict.UNDECIDED),
        ({}, [9, 9, 0], Verdict.PASS),
        ({"for": 1}, [9], Verdict.FAIL),
        ({"for": 3}, [9, 9], Verdict.UNDECIDED),
        ({"for": 3}, [0, 9, 9, 9], Verdict.FAIL),
        ({"of": "3/5"}, [9, 9], Verdict.UNDECIDED),
        ({"of": "3/5"}, [9, 0, 9, 0, 9], Verdict.FAIL),
        ({"of": "3/5"}, [9, 9, 9, 0, 0], Verdict.FAIL),
        ({"of": "3/5"}, [9, 9, 9, 0, 0, 0], Verdict.PASS),
        ({"of": "3/5"}, [9, None, 9, None, 9], Verdict.FAIL),  # what is no number is no result
        ({}, [9, 9, None], Verdict.VOID),
    ],
)
def test_how_many_results_beyond_the_limit_are_a_fail(
    rule: dict[str, Any], values: list[float | None], verdict: Verdict
):
    reading = None
    for i, value in enumerate(values):
        reading = following(reading, Reading(SINCE + i, value, "" if value is not None else "no data"))
    assert evaluated(reading, max=0.5, **rule).verdict is verdict


def test_results_from_before_the_step_do_not_count():
    assert evaluated(Reading(SINCE, 9.0, "", ((SINCE - 1, 9.0),))).verdict is Verdict.UNDECIDED


def test_a_reading_that_is_seen_again_counts_once():
    first = Reading(SINCE, 9.0)
    assert following(first, Reading(SINCE, 9.0)) is first
    stale = following(first, Reading(SINCE, None, "stale"))
    assert following(stale, Reading(SINCE + 1, 9.0)).earlier == ((SINCE, 9.0),)


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
    readings = {"q": Reading(SINCE, 2.0, "", ((SINCE, 2.0),)), "p": Reading(SINCE, 1.0)}
    found = evaluate_external([prometheus_check(), other], readings, SINCE)
    assert [v.verdict for v in found] == [Verdict.FAIL, Verdict.PASS]
    assert [v.check for v in found] == ["prometheus gpu <= 0.5", "prometheus p <= 1"]
