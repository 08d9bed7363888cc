"""A number from outside: taken at its word, and whatever is not one never passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.external import Reading, evaluate_external
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict

from .counting import check

SINCE = 100.0


def asked(**bound: float) -> Check:
    return check("prometheus", name="gpu", query="q", **(bound or {"max": 0.5}))


def judged(reading: Reading | None, **bound: float) -> Finding:
    (verdict,) = evaluate_external([asked(**bound)], {} if reading is None else {"q": reading}, SINCE)
    return verdict


@pytest.mark.parametrize(
    ("value", "bound", "finding"),
    [
        (0.5, {"max": 0.5}, Verdict.PASS),
        (0.51, {"max": 0.5}, Verdict.FAIL),
        (0.5, {"min": 0.5}, Verdict.PASS),
        (-1.0, {"min": 0.0}, Verdict.FAIL),
        (0.0, {"max": 0.0}, Verdict.PASS),
    ],
)
def test_a_number_is_held_to_its_limit(value: float, bound: dict[str, float], finding: Verdict):
    verdict = judged(Reading(SINCE, value), **bound)
    assert (verdict.verdict, verdict.estimate) == (finding, value)
    (limit,) = bound.values()
    assert verdict.reason == f"the server answers {value:.6g}; the limit is {limit:.6g}"


@pytest.mark.parametrize("reading", [None, Reading(SINCE - 0.1, 0.1), Reading(SINCE - 0.1, None, "no data")])
def test_what_was_asked_before_the_step_says_nothing_of_it(reading: Reading | None):
    assert judged(reading).verdict is Verdict.UNDECIDED


@given(st.text(min_size=1))
def test_what_is_no_number_is_void_and_says_what_it_is(trouble: str):
    verdict = judged(Reading(SINCE, None, trouble))
    assert verdict.verdict is Verdict.VOID
    assert trouble in verdict.reason


def test_each_check_has_its_own_query():
    other = check("prometheus", query="p", max=1)
    readings = {"q": Reading(SINCE, 2.0), "p": Reading(SINCE, 1.0)}
    found = evaluate_external([asked(), other], readings, SINCE)
    assert [v.verdict for v in found] == [Verdict.FAIL, Verdict.PASS]
    assert [v.check for v in found] == ["prometheus gpu <= 0.5", "prometheus p <= 1"]
