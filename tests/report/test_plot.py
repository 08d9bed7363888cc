"""Scales: their order, their ends, and ticks at round numbers inside."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade.report.plot import Plot, Scale, since_start, table

numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers, numbers, numbers)
def test_larger_values_are_never_to_the_left(low, high, a, b):
    scale = Scale(min(low, high), max(low, high))
    assert 0 <= scale.part(min(a, b)) <= scale.part(max(a, b)) <= 1
    assert scale.part(scale.low) == pytest.approx(0, abs=1e-6)


@given(numbers, st.floats(1e-3, 1e6))
def test_ticks_are_inside_and_few(low, size):
    scale = Scale(low, low + size)
    assume(scale.high > scale.low)
    ticks = scale.ticks()
    assert all(scale.low - size * 1e-6 <= tick <= scale.high + size * 1e-6 for tick in ticks)
    assert 2 <= len(ticks) <= 7


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e6))
def test_ticks_of_a_logarithmic_scale_are_inside(low, ratio):
    scale = Scale(low, low * ratio, logarithmic=True)
    ticks = scale.ticks()
    assert ticks == sorted(set(ticks))
    assert all(scale.low <= tick <= scale.high for tick in ticks)
    assert scale.part(low) == pytest.approx(0)
    assert scale.part(low * ratio) == pytest.approx(1)


def test_a_scale_of_one_value_has_room_around_it():
    assert Scale(3.0, 3.0).part(3.0) == pytest.approx(0.5)
    assert Scale(0.0, 0.0).part(0.0) == pytest.approx(0.5)
    assert 0 < Scale(2.0, 2.0, logarithmic=True).part(2.0) < 1


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (7, [0, 2, 4, 6]),
        (4000, [0, 900, 1800, 2700, 3600]),
        (86_400 * 3, [0, 86_400, 172_800, 259_200]),
        (0, None),
    ],
)
def test_ticks_of_time_are_at_times_that_people_use(seconds, ticks):
    found = since_start(seconds).ticks()
    assert ticks is None or found == ticks
    assert len(found) < 10


def test_time_of_years_has_few_ticks():
    assert 2 <= len(since_start(86_400 * 900).ticks()) <= 7


def test_marks_outside_of_the_scale_are_not_drawn():
    plot = Plot(Scale(0, 1), Scale(0, 1))
    plot.upright(2.0, "threshold")
    plot.level(-0.1, "limit")
    assert plot.marks == []
    plot.upright(0.5, "threshold", "half")
    assert len(plot.marks) == 2


def test_a_column_of_numbers_is_aligned():
    assert '<th scope="col" class="num">n</th>' in table(("name", "n#"), [["a", "1"]])
