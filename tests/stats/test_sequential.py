"""E-processes against reference values (computed twice, in numpy and in plain Python), and their properties."""

from __future__ import annotations

from math import comb, exp, inf, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.stats.sequential import (
    SplitCounts,
    bound,
    gain_above,
    gain_worse,
    log_e_above,
    log_e_below,
    log_e_better,
    log_e_worse,
    ratio_interval,
    wilson,
)
from tests.tries import tries

REFERENCE = [
    ([(0.05, 0, 0)], 0.0, 0.0, 0.0),
    ([(0.05, 1, 0)], 1.874909, 1.778610, -1.376633),
    ([(0.05, 5, 20)], 2.349598, 1.535889, -2.701667),
    ([(0.05, 10, 20)], 10.485910, 8.627147, -3.635966),
    ([(0.5, 20, 10)], 0.264644, -0.743858, -2.709919),
    ([(0.05, 3, 40), (0.25, 10, 20)], -1.057313, -1.865862, -2.225979),
    ([(0.05, 50, 950)], -3.197208, -4.544453, 2.026750),
]


def strata_of(rows) -> list[SplitCounts]:
    return [SplitCounts(*row) for row in rows]


@pytest.mark.parametrize(("rows", "worse", "worse_margin", "better"), REFERENCE)
def test_two_sample_reference_values(rows, worse, worse_margin, better):
    strata = strata_of(rows)
    assert log_e_worse(strata, 1) == pytest.approx(worse, abs=1e-6)
    assert log_e_worse(strata, 1.25) == pytest.approx(worse_margin, abs=1e-6)
    assert log_e_better(strata, 1.5) == pytest.approx(better, abs=1e-6)


@pytest.mark.parametrize(
    ("row", "lower", "upper"),
    [
        ((0.05, 10, 20), 2.42595, 31.19767),
        ((0.05, 50, 190), 2.78936, 8.44680),
        ((0.5, 120, 100), 0.747242, 1.940378),
    ],
)
def test_ratio_interval_reference_values(row, lower, upper):
    low, high = ratio_interval(strata_of([row]), 0.05)
    assert low == pytest.approx(lower, rel=1e-4)
    assert high == pytest.approx(upper, rel=1e-4)


def test_simpson_example_of_two_days_at_different_shares():
    strata = strata_of([(0.01, 230, 20_000), (0.5, 6_000, 5_000)])
    assert log_e_worse(strata, 1) == pytest.approx(34.362773, abs=1e-5)
    assert ratio_interval(strata, 0.05) == pytest.approx((1.11209, 1.28419), rel=1e-5)


@pytest.mark.parametrize(
    ("x", "n", "p0", "expected"),
    [
        (5, 100, 0.01, 2.848869),
        (10, 500, 0.01, 0.307910),
        (60, 1000, 0.05, -1.637916),
        (0, 300, 0.01, -2.793140),
    ],
)
def test_one_sample_reference_values(x, n, p0, expected):
    assert log_e_above(x, n, p0) == pytest.approx(expected, abs=1e-6)


def test_ratio_interval_without_events_is_unbounded():
    assert ratio_interval([], 0.05) == (0.0, inf)


@pytest.mark.parametrize(("share", "d0"), [(0.05, 1.0), (0.3, 1.25), (0.5, 2.0)])
@pytest.mark.parametrize("log_e", [log_e_worse, log_e_better])
def test_two_sample_e_value_has_expectation_one_at_the_boundary_of_the_hypothesis(log_e, share, d0):
    pi, events = share * d0 / (share * d0 + 1 - share), 12
    mean = sum(
        comb(events, x)
        * pi**x
        * (1 - pi) ** (events - x)
        * exp(log_e([SplitCounts(share, x, events - x)], d0))
        for x in range(events + 1)
    )
    assert mean == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("p0", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("below", [1.0, 0.5])
def test_log_e_above_has_expectation_at_most_one(p0, below):
    n, p = 12, p0 * below
    mean = sum(comb(n, x) * p**x * (1 - p) ** (n - x) * exp(log_e_above(x, n, p0)) for x in range(n + 1))
    assert mean <= 1 + 1e-9
    if below == 1.0:
        assert mean == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("p0", [0.01, 0.2, 0.9])
def test_log_e_below_has_expectation_one_at_its_limit(p0):
    def mean(p: float) -> float:
        return sum(comb(12, x) * p**x * (1 - p) ** (12 - x) * exp(log_e_below(x, 12, p0)) for x in range(13))

    assert mean(p0) == pytest.approx(1, abs=1e-9)
    assert mean(p0 + (1 - p0) / 2) < 1


counts = st.integers(0, 200)
shares = st.sampled_from([0.01, 0.05, 0.25, 0.5])
strata_lists = st.lists(st.builds(SplitCounts, shares, counts, counts), max_size=5)


@given(strata_lists, st.floats(0.2, 5))
def test_order_and_grouping_of_the_counts_do_not_matter(strata, d0):
    whole = log_e_worse(strata, d0)
    halves = [SplitCounts(s.share, s.here // 2, s.rest // 3) for s in strata]
    others = [SplitCounts(s.share, s.here - s.here // 2, s.rest - s.rest // 3) for s in strata]
    assert log_e_worse(list(reversed(strata)), d0) == pytest.approx(whole, abs=1e-6)
    assert log_e_worse([*others, *halves], d0) == pytest.approx(whole, abs=1e-6)


@given(strata_lists, st.floats(0.1, 10), st.floats(1.0, 3))
def test_log_e_worse_falls_and_log_e_better_rises_with_the_tolerated_ratio(strata, d0, factor):
    assert log_e_worse(strata, d0 * factor) <= log_e_worse(strata, d0) + 1e-6
    assert log_e_better(strata, d0 * factor) >= log_e_better(strata, d0) - 1e-6


@given(st.integers(0, 50), st.integers(0, 500), st.floats(0.001, 0.5), st.floats(1.0, 1.9))
def test_log_e_above_falls_with_the_limit_and_rises_with_events(x, clean, p0, factor):
    n = x + clean
    assert log_e_above(x, n, p0 * factor) <= log_e_above(x, n, p0) + 1e-9
    assert log_e_above(x + 1, n + 1, p0) >= log_e_above(x, n + 1, p0) - 1e-9


@settings(max_examples=tries(50))
@given(st.floats(0.01, 0.9), st.floats(0.001, 0.3), st.floats(1.2, 3))
def test_gain_worse_equals_the_exact_expectation_of_the_best_alternative(share, p_rest, ratio):
    p_here = p_rest * ratio
    here, rest = share * p_here, (1 - share) * p_rest
    pi = here / (here + rest)
    expected = (here + rest) * (pi * log(pi / share) + (1 - pi) * log((1 - pi) / (1 - share))) / share
    assert gain_worse(share, p_here, p_rest, 1.0) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_gains_are_zero_inside_the_null_hypothesis():
    assert gain_worse(0.1, 0.02, 0.02, 1.5) == 0
    assert gain_worse(1.0, 0.5, 0.1, 1.0) == 0  # there is no other side
    assert gain_above(0.01, 0.02) == 0
    assert gain_above(1.0, 0.02) == pytest.approx(log(50))


def test_the_wald_bound_of_the_documented_case():
    """1 → 5 % errors at 5 % share and α = 1 %: about 2500 requests on both sides together."""
    here = bound(0.01) / gain_worse(0.05, 0.05, 0.01, 1.0)
    assert here / 0.05 == pytest.approx(2_500, rel=0.03)


@pytest.mark.parametrize(
    ("x", "n", "expected"),
    [(0, 0, (0.0, 1.0)), (0, 10, (0.0, 0.277533)), (5, 50, (0.043477, 0.213602)), (10, 10, (0.722467, 1.0))],
)
def test_wilson_interval(x, n, expected):
    assert wilson(x, n) == pytest.approx(expected, abs=1e-5)
