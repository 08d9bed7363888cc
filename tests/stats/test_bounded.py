"""Exact tests of numbers with a range: reference values, an expectation of 1, and rounding at random."""

from __future__ import annotations

from itertools import product
from math import exp, fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.bounded import (
    LEVELS,
    SplitLevels,
    flipped,
    level_of,
    log_e_level_above,
    log_e_level_increase,
    toss_of,
)
from crossfade.stats.differences import log_e_increase
from crossfade.stats.sequential import SplitCounts, log_e_above


def test_reference_values():
    """Values of an independent calculation: w = ¼, c = 0.1, K = 4."""
    strata = [SplitLevels(0.25, (60, 10, 5, 3, 2), (210, 15, 6, 5, 4))]
    assert log_e_level_increase(strata, 0.1, 0.0) == pytest.approx(1.106637, abs=1e-6)
    assert log_e_level_increase(strata, 0.1, 0.02) == pytest.approx(0.235798, abs=1e-6)
    assert log_e_level_increase(flipped(strata), 0.9, 0.0) == pytest.approx(-0.660026, abs=1e-6)


def outcomes(n: int, share: float, chances: tuple[tuple[float, ...], tuple[float, ...]]):
    """Each sequence of n units, (side, level), with its probability."""
    one = [
        (side, level, (share, 1 - share)[side] * p)
        for side in (0, 1)
        for level, p in enumerate(chances[side])
    ]
    for units in product(one, repeat=n):
        counts = ([0, 0, 0], [0, 0, 0])
        probability = 1.0
        for side, level, p in units:
            counts[side][level] += 1
            probability *= p
        yield counts, probability


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("centre", [0.1, 0.5])
def test_the_expectation_is_one_at_the_margin_even_with_unequal_variances(share, centre):
    """The mean here is 0.6 of the range and 0.5 on the other side; by summation over all outcomes."""
    chances = ((0.4, 0.0, 0.6), (0.0, 1.0, 0.0))
    mean = fsum(
        p * exp(log_e_level_increase([SplitLevels(share, *counts)], centre, 0.1))
        for counts, p in outcomes(3, share, chances)
    )
    assert mean == pytest.approx(1)


def test_the_expectation_of_one_side_is_one_at_the_limit():
    mean = fsum(
        p * exp(log_e_level_above(counts[0], 0.35))
        for counts, p in outcomes(3, 1.0, ((0.5, 0.3, 0.2), (0, 0, 0)))
        if p
    )
    assert mean == pytest.approx(1)


def test_two_levels_are_events():
    """With other stakes than the tests of events, so alike but not equal."""
    ours, theirs = (900, 100), (2850, 150)
    levels = log_e_level_increase([SplitLevels(0.25, ours, theirs)], 0.0, 0.0)
    assert levels == pytest.approx(log_e_increase([SplitCounts(0.25, 100, 150, 1000, 3000)], 0.0), rel=0.2)
    assert log_e_level_above(ours, 0.05) == pytest.approx(log_e_above(100, 1000, 0.05), rel=0.2)


@pytest.mark.parametrize("margin", [-1.0, 1.0, 7.0])
def test_margins_that_no_number_exceeds_have_no_test(margin):
    assert log_e_level_increase([SplitLevels(0.5, (0, 100), (100, 0))], 0.5, margin) == 0
    assert log_e_level_above((0, 100), max(margin, 0.0)) == 0


@given(st.floats(-10, 30), st.integers(0, 2**64 - 1))
def test_the_mean_of_the_levels_is_the_number(value, unit):
    tosses = [(i + 0.5) / 100 for i in range(100)]
    mean = sum(level_of(value, 0.0, 20.0, toss) for toss in tosses) / 100 / LEVELS
    assert mean * 20 == pytest.approx(min(max(value, 0.0), 20.0), abs=20 / LEVELS / 100)
    assert 0 <= level_of(value, 0.0, 20.0, toss_of(unit, 0)) <= LEVELS


def test_tosses_are_uniform_and_repeat():
    tosses = [toss_of(unit << 50, n) for unit in range(1000) for n in range(2)]
    assert tosses == [toss_of(unit << 50, n) for unit in range(1000) for n in range(2)]
    assert [sum(i / 4 <= toss < (i + 1) / 4 for toss in tosses) for i in range(4)] == pytest.approx(
        [500] * 4, abs=60
    )
