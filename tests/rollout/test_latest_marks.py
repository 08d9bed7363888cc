"""Marks near the present: few, and one near the beginning of a part of any length."""

from __future__ import annotations

from math import log

from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.latest_marks import GAP, is_latest_due, with_latest
from crossfade.rollout.strata import Mark


def marked(steps: list[int]) -> tuple[int, list[Mark]]:
    n, latest = 0, list[Mark]()
    for step in steps:
        n += step
        if is_latest_due(n, latest):
            latest = with_latest(latest, Mark(n, {}))
    return n, latest


@given(st.lists(st.integers(1, 5), min_size=1, max_size=400), st.integers(1, 2000))
def test_a_part_of_any_length_has_a_mark_near_its_beginning(steps, length):
    n, latest = marked(steps)
    ages = [n - mark.n for mark in latest]
    length = min(length, n)
    assert any(length <= age <= 1.6 * length + 2 * GAP + 10 for age in [*ages, n])


@given(st.integers(1, 3), st.integers(100, 4000))
def test_marks_are_few(step, ticks):
    n, latest = marked([step] * ticks)
    assert len(latest) <= 6 + 2 * log(max(n / GAP, 1)) / log(1.6)


def test_no_mark_is_set_before_enough_requests():
    assert marked([GAP - 1])[1] == []
    assert [mark.n for mark in marked([GAP, GAP - 1, 1])[1]] == [GAP, 2 * GAP]
