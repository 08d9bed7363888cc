"""Means of KPI values: moments, the normal mixtures, and the difference with overlap weights."""

from __future__ import annotations

from math import exp, inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.means import (
    Moments,
    SplitMoments,
    gain_mean,
    log_e_drift,
    log_e_mean_above,
    log_e_mean_below,
    log_phi,
    mean_interval,
    mixture_boundary,
    mixture_rho,
    weighted_difference,
)
from crossfade.stats.sequential import bound

values = st.lists(st.sampled_from([0, 1, 2, 0.25, -1]), max_size=12)


def moments(numbers) -> Moments:
    out = Moments()
    for number in numbers:
        out.add(number)
    return out


@given(values, values)
def test_merged_moments_equal_those_of_all_values(a, b):
    merged = moments(a)
    merged.merge(moments(b))
    assert merged == moments(a + b)


def test_only_zeros_and_ones_are_binary():
    assert moments([0, 1, 1]) == Moments(3, 2.0, 2.0, True)
    assert not moments([0, 0.5]).binary


def test_reference_values_of_the_normal_mixtures():
    """From confseq's own tests: v_opt 100, α 5 %."""
    rho = mixture_rho(100, 0.05)
    assert rho == pytest.approx(12.60056, abs=1e-5)
    assert mixture_boundary(100, rho, 0.05) == pytest.approx(30.35209, abs=1e-5)
    one_sided = mixture_rho(100, 0.1)
    assert log_e_drift(10, 100, one_sided) == pytest.approx(-0.06502391, abs=1e-8)
    assert log_e_drift(27.66071, 100, one_sided) == pytest.approx(bound(0.05), abs=1e-6)


def test_reference_values_of_the_asymptotic_sequence():
    """The paper's ρ is 1/√ρ of the mixture; its closed one-sided form is a little wider than the exact one."""
    rho = mixture_rho(1000, 0.05)
    assert 1 / sqrt(rho) == pytest.approx(0.0890851, abs=1e-7)
    assert mixture_boundary(1000, rho, 0.05) / 1000 == pytest.approx(0.0959817, abs=1e-7)
    one_sided = mixture_rho(1000, 0.1)
    assert 1 / sqrt(one_sided) == pytest.approx(0.0795541, abs=1e-7)
    assert 0 < log_e_drift(1000 * 0.0878827, 1000, one_sided) - bound(0.05) < 0.05


def binary(n: int, x: int) -> Moments:
    return Moments(n, x, x)


def test_simpson_example_of_two_days_at_different_shares():
    days = [
        SplitMoments(0.01, binary(10_000, 230), binary(990_000, 20_000)),
        SplitMoments(0.5, binary(500_000, 6_000), binary(500_000, 5_000)),
    ]
    found = weighted_difference(days)
    assert found.s == pytest.approx(527.70, abs=1e-6)
    assert found.d == pytest.approx(259_900)
    assert found.difference == pytest.approx(0.0020304, abs=1e-7)
    assert found.v == pytest.approx(2942.0231, abs=1e-4)
    half = mixture_boundary(2942.0231, mixture_rho(2942.0231 / 2, 0.05), 0.05) / found.d
    low, high = found.difference - half, found.difference + half
    assert (low, high) == pytest.approx((0.0013915, 0.0026693), abs=1e-7)
    low, high = mean_interval(found, 0.05)
    assert 0.001 < low < found.difference < high < 0.003  # of the pooled days it is −0.0046


sides = st.builds(
    SplitMoments, st.sampled_from([0.05, 0.5]), st.builds(moments, values), st.builds(moments, values)
)


@given(st.lists(sides, max_size=4))
def test_the_order_of_strata_does_not_matter(strata):
    assert weighted_difference(reversed(strata)) == pytest.approx(weighted_difference(strata))


@given(st.lists(sides, max_size=4), st.floats(-2, 2))
def test_log_e_below_of_negated_values_equals_log_e_above(strata, limit):
    flipped = [SplitMoments(s.share, *(Moments(m.n, -m.total, m.squares) for m in s[1:])) for s in strata]
    above = log_e_mean_above(weighted_difference(strata), limit, 0.01)
    assert log_e_mean_below(weighted_difference(flipped), -limit, 0.01) == pytest.approx(above, abs=1e-9)


@given(st.lists(sides, max_size=4), st.floats(-2, 2), st.floats(0, 2))
def test_log_e_above_falls_as_the_limit_rises(strata, limit, more):
    found = weighted_difference(strata)
    assert log_e_mean_above(found, limit + more, 0.01) <= log_e_mean_above(found, limit, 0.01) + 1e-9


def test_constant_values_give_no_evidence():
    same = weighted_difference([SplitMoments(0.5, moments([1] * 500), moments([1] * 500))])
    assert mean_interval(same, 0.05) == (-inf, inf)
    assert log_e_mean_above(same, 0.0, 0.01) == gain_mean(same, 0.0) == 0
    assert mean_interval(weighted_difference([]), 0.05) == (-inf, inf)


def test_log_e_of_a_higher_mean_grows_as_gain_mean_says():
    half, whole = (
        weighted_difference([SplitMoments(0.5, binary(k, k // 5), binary(k, k // 10))])
        for k in (20_000, 40_000)
    )
    low, high = mean_interval(half, 0.01)
    assert 0.05 < low < half.difference < high < 0.15
    growth = log_e_mean_above(whole, 0.05, 0.01) - log_e_mean_above(half, 0.05, 0.01)
    assert growth == pytest.approx(40_000 * gain_mean(whole, 0.05), rel=0.35)


def test_the_one_sided_mixture_has_expectation_one():
    """Of a normally distributed sum at the boundary of the null hypothesis, by the trapezoid rule."""
    v, steps = 7.0, 4000
    width = 16 * sqrt(v) / steps
    mean = sum(
        exp(log_e_drift(s, v, 5.0) - s * s / (2 * v)) * width / sqrt(2 * 3.141592653589793 * v)
        for s in (-8 * sqrt(v) + i * width for i in range(steps + 1))
    )
    assert mean == pytest.approx(1, abs=1e-3)


def test_log_phi_is_continuous_where_the_asymptotic_series_begins():
    assert log_phi(-29.99) == pytest.approx(log_phi(-30.01), rel=3e-3)
    assert log_phi(-60) < -1800
    assert log_phi(0) == pytest.approx(-0.6931472)
