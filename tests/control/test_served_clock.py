"""Served time goes forward only, by the monotonic clock, and a gap has a length and a cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.control import served_clock
from crossfade.control.served_clock import MAX_STEP, MIN_GAP, Gap, ServedClock, advance

WALL = 1_700_000_000.0
AT_WORK = ServedClock(WALL + 50, WALL + 60, 9.0)


def test_a_new_clock_begins_at_the_wall_time():
    assert advance(ServedClock(), WALL, 5.0) == (ServedClock(WALL, WALL, 5.0), None)


@pytest.mark.parametrize(
    ("clock", "wall", "monotonic", "counted", "gap"),
    [
        (AT_WORK, 60.25, 9.25, 0.25, None),
        (AT_WORK, 60 + MAX_STEP, 9 + MAX_STEP, MAX_STEP, None),
        (
            AT_WORK,
            60 + MAX_STEP + MIN_GAP,
            9 + MAX_STEP + MIN_GAP,
            MAX_STEP,
            None,
        ),  # too short to be worth a report
        (AT_WORK, 69, 18, MAX_STEP, (7.0, served_clock.LATE)),
        (AT_WORK, 60 + 7200, 9, 0, (7200.0, served_clock.SET_FORWARD)),
        (AT_WORK, 60 - 3600, 9, 0, (-3600.0, served_clock.SET_BACK)),
        (AT_WORK, 61 - 3600, 10, 1, (-3600.0, served_clock.SET_BACK)),
        (AT_WORK, 60, 3, 0, None),  # a monotonic clock that is broken adds nothing
        (ServedClock(WALL + 50, WALL + 60), 60 + 7380, 4, 0, (7380.0, served_clock.STOPPED)),
        (ServedClock(WALL + 50, WALL + 60), 61, 4, 0, None),
        (ServedClock(WALL + 50, WALL + 60), -600, 4, 0, (-660.0, served_clock.SET_BACK)),
    ],
)
def test_a_reading_counts_what_was_served_and_reports_the_rest(clock, wall, monotonic, counted, gap):
    after, found = advance(clock, WALL + wall, monotonic)
    assert after == ServedClock(clock.served + counted, WALL + wall, monotonic)
    assert found == (Gap(gap[0], gap[1], after.served) if gap else None)


@pytest.mark.parametrize(
    ("seconds", "cause", "said"),
    [
        (7380.0, served_clock.STOPPED, "2h 3m did not count: the proxy was stopped"),
        (-3600.0, served_clock.SET_BACK, "the wall clock was set back by 1h; holds go on by served time"),
    ],
)
def test_a_gap_says_how_long_and_why(seconds, cause, said):
    assert str(Gap(seconds, cause, WALL)) == said


SECONDS = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=20))
def test_served_time_never_goes_back_nor_faster_than_the_monotonic_clock(moves):
    clock, wall, monotonic = ServedClock(), WALL, 0.0
    clock, _ = advance(clock, wall, monotonic)
    for walled, passed in moves:
        wall, monotonic = wall + walled, monotonic + passed
        before = clock
        clock, _ = advance(clock, wall, monotonic)
        assert 0 <= clock.served - before.served <= max(min(passed, MAX_STEP), 0) + 1e-6
