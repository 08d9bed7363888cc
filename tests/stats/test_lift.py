"""Relative differences: reference values, an expectation of 1 at the factor, intervals that invert the tests."""

from __future__ import annotations

import random
from itertools import product
from math import exp, log

import pytest

from crossfade.stats.bounded import SplitLevels, flipped, log_e_level_increase
from crossfade.stats.lift import (
    Levels,
    LiftTests,
    drift_of_levels,
    drift_of_means,
    growth,
    lift_interval,
    log_e_less_levels,
    log_e_less_means,
    log_e_more_levels,
    log_e_more_means,
)
from crossfade.stats.means import MeanSums, Unit, log_e_mean_above, log_e_mean_below, mixture_rho
from crossfade.stats.sequential import bound

STRATA = [SplitLevels(0.25, (60, 10, 5, 3, 2), (210, 15, 6, 5, 4))]
UNIT = Levels(0.0, 1.0, (0.1,))


def test_a_factor_of_one_is_the_test_of_differences():
    """The reference values of statistics-methods 4: w = ¼, c = 0.1, K = 4."""
    assert log_e_more_levels(STRATA, UNIT, 1.0) == pytest.approx(1.106637, abs=1e-6)
    assert log_e_less_levels(STRATA, UNIT, 1.0) == pytest.approx(-0.660026, abs=1e-6)
    assert log_e_more_levels(STRATA, UNIT, 1.0) == pytest.approx(log_e_level_increase(STRATA, 0.1, 0.0))
    assert log_e_less_levels(STRATA, UNIT, 1.0) == pytest.approx(
        log_e_level_increase(flipped(STRATA), 0.9, 0.0)
    )


def test_sums_at_a_factor_of_one_are_the_test_of_means():
    found, rho = MeanSums(11.77, 53.2, 20.6, 40.0), mixture_rho(50.0, 0.1)
    assert log_e_more_means(found, 2.0, 1.0, rho) == pytest.approx(log_e_mean_above(found, 0.0, rho))
    assert log_e_less_means(found, 2.0, 1.0, rho) == pytest.approx(log_e_mean_below(found, 0.0, rho))
    assert log_e_more_means(MeanSums(), 2.0, 1.0, rho) == 0


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
@pytest.mark.parametrize("centres", [(0.1,), (0.0, 0.5, 1.0)])
@pytest.mark.parametrize("test", [log_e_more_levels, log_e_less_levels])
def test_the_expectation_is_one_at_the_factor_even_with_unequal_variances(share, centres, test):
    """The mean here is 0.6 and on the other side 0.5, a lift of 20 %; by summation over all outcomes."""
    chances = ((0.4, 0.0, 0.6), (0.0, 1.0, 0.0))
    mean = sum(
        p * exp(test([SplitLevels(share, *counts)], Levels(0.0, 1.0, centres), 1.2))
        for counts, p in outcomes(3, share, chances)
    )
    assert mean == pytest.approx(1)


@pytest.mark.parametrize(("test", "factor"), [(log_e_more_levels, 1.5), (log_e_less_levels, 1.0)])
def test_the_expectation_is_below_one_where_the_hypothesis_holds(test, factor):
    chances = ((0.4, 0.0, 0.6), (0.0, 1.0, 0.0))
    mean = sum(p * exp(test([SplitLevels(0.5, *c)], UNIT, factor)) for c, p in outcomes(3, 0.5, chances))
    assert mean < 1


def test_levels_of_nothing_are_no_bet():
    """A range that begins at 0 and a factor of 0: all numbers of the others are 0."""
    nothing = [SplitLevels(0.5, (5, 0), (5, 0))]
    assert log_e_more_levels(nothing, Levels(0.0, 0.0, (0.0,)), 1.0) == 0
    assert log_e_more_levels([], UNIT, 1.0) == 0


def bets_on(strata: list[SplitLevels], levels: Levels, mean: float) -> LiftTests:
    return LiftTests(
        lambda f: log_e_more_levels(strata, levels, f), lambda f: log_e_less_levels(strata, levels, f), mean
    )


def test_an_interval_ends_where_the_tests_begin_to_reject():
    strata = [SplitLevels(0.5, (4000, 1000), (4200, 800))]
    tests = bets_on(strata, Levels(0.0, 1.0, (0.0, 0.5, 1.0)), 0.16)
    low, high = lift_interval(tests, 0.25, 0.05)
    assert low is not None
    assert high is not None
    assert 0.05 < low < 0.25 < high < 0.5
    limit = bound(0.025)
    assert tests.more(1 + low) >= limit > tests.more(1 + low + 1e-3)
    assert tests.less(1 + high) >= limit > tests.less(1 + high - 1e-3)


def test_an_interval_of_few_numbers_is_open():
    tests = bets_on([SplitLevels(0.5, (3, 1), (3, 1))], Levels(0.0, 1.0, (0.5,)), 0.25)
    low, high = lift_interval(tests, 0.0, 0.05)
    assert low is None
    assert high is not None
    assert high > 100
    nobody = bets_on([], Levels(0.0, 1.0, (0.5,)), 0.25)
    assert lift_interval(nobody, 0.0, 0.05) == (None, None)


@pytest.mark.parametrize("seed", range(10))
def test_intervals_of_sums_cover_the_lift(seed):
    """Heavy amounts with a mean of 2 on one side and 1.8 on the other, at a share that a ramp changes."""
    rng, found, rest, top = random.Random(seed), MeanSums(), 0, 0.0
    for i in range(8000):
        share = 0.1 if i < 4000 else 0.5
        here = rng.random() < share
        y = rng.lognormvariate(-0.5, 1) * (2.0 if here else 1.8)
        found.add(Unit(), here, share, y - 1.9)
        if not here:
            rest, top = rest + 1, top + y
    rho, mean = mixture_rho(500.0, 0.05), top / rest
    tests = LiftTests(
        lambda f: log_e_more_means(found, mean, f, rho), lambda f: log_e_less_means(found, mean, f, rho), mean
    )
    low, high = lift_interval(tests, found.mean / mean, 0.05)
    assert low is not None
    assert high is not None
    assert low < 1 / 9 < high
    assert high - low < 0.6


def test_the_drift_says_how_fast_a_test_grows():
    """A bet that knows the right stake grows by half the squared drift over the variance; the mixture by a little less."""
    strata = [SplitLevels(0.5, (70_000, 30_000), (80_000, 20_000))]
    levels = Levels(0.0, 1.0, (0.0, 0.5, 1.0))
    drift = drift_of_levels(strata, levels, 1.2, 0.2)
    assert drift.s == pytest.approx(0.25 * 200_000 * (0.3 - 1.2 * 0.2))
    grown = growth(drift, 200_000) * 200_000
    assert log_e_more_levels(strata, levels, 1.2) == pytest.approx(grown, rel=0.25)
    assert growth(MeanSums(), 10) == growth(drift, 0) == 0
    sums = MeanSums(50.0, 400.0, 0.0, 25.0)
    assert drift_of_means(sums, 2.0, 1.0) == MeanSums(50.0, 400.0, 0.0, 25.0)
    assert drift_of_means(sums, 2.0, 1.1).s == pytest.approx(45.0)


def test_a_known_mean_of_the_others_gives_the_absolute_test():
    """With numbers of the others that are all 1, the lift is the difference from 1."""
    strata = [SplitLevels(0.5, (10, 90), (0, 100))]
    assert log_e_more_levels(strata, Levels(0.0, 1.0, (0.5,)), 0.5) > log(100)
    assert log_e_less_levels(strata, Levels(0.0, 1.0, (0.5,)), 1.5) > log(100)
