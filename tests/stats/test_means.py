"""Means of KPI values: sums over units, the normal mixtures, and the difference with overlap weights."""

from __future__ import annotations

import random
from math import exp, inf, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.means import (
    MeanSums,
    Unit,
    gain_mean,
    log_e_drift,
    log_e_mean_above,
    log_e_mean_below,
    log_phi,
    mean_interval,
    mixture_boundary,
    mixture_rho,
)
from crossfade.stats.sequential import bound

RHO = 5.0


def sums_of(numbers: list[tuple[int, bool, float, float]]) -> MeanSums:
    """Of (unit, here, share, number less the centre)."""
    out, units = MeanSums(), dict[int, Unit]()
    for unit, here, share, r in numbers:
        out.add(units.setdefault(unit, Unit()), here, share, r)
    return out


def close(found: MeanSums) -> object:
    return pytest.approx((found.s, found.observed, found.expected, found.d), abs=1e-9)


def test_reference_values_of_units_with_a_centre_of_earlier_ticks():
    """Values of an independent calculation: w = ¼, three ticks, the centre is 0.5 at first."""
    ticks = (((3, 0, 1), (1, 0, 0, 2, 0, 0)), ((5, 0), (0, 1, 0, 0)), ((9, 2), (0, 0, 1, 0, 4)))
    found, centre, total, n = MeanSums(), 0.5, 0.0, 0
    for here, rest in ticks:
        for y in here:
            found.add(Unit(), True, 0.25, y - centre)
        for y in rest:
            found.add(Unit(), False, 0.25, y - centre)
        total, n = total + sum(here) + sum(rest), n + len(here) + len(rest)
        centre = total / n
    assert (found.s, found.observed, found.expected) == pytest.approx(
        (11.769444, 53.188248, 20.638264), abs=1e-6
    )
    assert log_e_mean_above(found, 0.0, 2.0) == pytest.approx(0.231094, abs=1e-6)
    two_sided = log(2 / (found.v + 2)) / 2 + found.s**2 / (2 * (found.v + 2))
    assert two_sided == pytest.approx(-0.403826, abs=1e-6)
    delyon = (found.observed + 2 * found.expected) / 3
    assert log(2 / (delyon + 2)) / 2 + found.s**2 / (2 * (delyon + 2)) == pytest.approx(0.659161, abs=1e-6)
    assert found.v >= delyon


def test_reference_values_of_customers_with_several_numbers():
    """Values of an independent calculation: of each customer (here, requests, events), at w = ¼ and the centre 5 %."""
    customers = [(1, 20, 4), (1, 5, 0), (0, 30, 1), (0, 10, 0), (0, 12, 3), (0, 8, 0), (1, 15, 1), (0, 25, 0)]
    numbers = [
        (key, bool(here), 0.25, (i < x) - 0.05)
        for key, (here, n, x) in enumerate(customers)
        for i in range(n)
    ]
    found = sums_of(numbers)
    drift = found.s - 0.01 * found.d
    assert (drift, found.observed, found.expected) == pytest.approx((2.078125, 5.631719, 3.207656), abs=1e-6)
    assert log_e_mean_above(found, 0.01, 2.0) == pytest.approx(0.050382, abs=1e-6)


def test_the_variance_of_customers_that_move_is_that_of_their_position():
    """Exactly, by the mean over positions: the same customer at the shares 5 %, 25 % and 50 %."""
    parts = [(0.05, 2.0), (0.25, -1.0), (0.5, 3.0)]
    found = sums_of([(0, False, share, r) for share, r in parts])
    positions = [(i + 0.5) / 1000 for i in range(1000)]
    scores = [sum(((u < share) - share) * r for share, r in parts) for u in positions]
    assert sum(scores) / 1000 == pytest.approx(0, abs=1e-9)
    assert found.expected == pytest.approx(sum(z * z for z in scores) / 1000)


numbers = st.lists(
    st.tuples(
        st.integers(0, 3), st.booleans(), st.sampled_from([0.05, 0.25, 0.5]), st.sampled_from([0, 1, -2.5])
    ),
    max_size=12,
)


@given(numbers, st.randoms(use_true_random=False))
def test_the_order_of_numbers_does_not_matter(given_numbers, rng: random.Random):
    shuffled = rng.sample(given_numbers, len(given_numbers))
    found = sums_of(shuffled)
    assert (found.s, found.observed, found.expected, found.d) == close(sums_of(given_numbers))


@given(numbers)
def test_variances_are_squares_of_what_they_are_of(given_numbers):
    """Against the plain formulas."""
    z, r = dict[int, float](), dict[int, dict[float, float]]()
    for unit, here, share, value in given_numbers:
        z[unit] = z.get(unit, 0.0) + (here - share) * value
        of_unit = r.setdefault(unit, {})
        of_unit[share] = of_unit.get(share, 0.0) + value
    expected = sum(
        a * b * (min(v, w) - v * w) for of in r.values() for v, a in of.items() for w, b in of.items()
    )
    found = sums_of(given_numbers)
    assert found.observed == pytest.approx(sum(x * x for x in z.values()), abs=1e-9)
    assert found.expected == pytest.approx(expected, abs=1e-9)


def test_the_mean_of_one_side_is_of_units_too():
    found = MeanSums()
    for before, r in ((0.0, 2.0), (2.0, 1.0), (0.0, -1.0)):
        found.add_alone(before, r)
    assert (found.s, found.v, found.mean) == pytest.approx((2.0, 9 + 1, 2 / 3))


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


def add_binary(found: MeanSums, share: float, here: tuple[int, int], rest: tuple[int, int]) -> None:
    """(n, of which 1) on each side, less the mean of both."""
    m = (here[1] + rest[1]) / (here[0] + rest[0])
    for side, (n, x) in ((True, here), (False, rest)):
        for times, r in ((x, 1 - m), (n - x, -m)):
            z = (1 - share) * r if side else -share * r
            found.s += times * z
            found.observed += times * z * z
            found.expected += times * share * (1 - share) * r * r
            found.d += times * share * (1 - share)


def test_simpson_example_of_two_days_at_different_shares():
    found = MeanSums()
    add_binary(found, 0.01, (10_000, 230), (990_000, 20_000))
    add_binary(found, 0.5, (500_000, 6_000), (500_000, 5_000))
    assert found.s == pytest.approx(527.70, abs=1e-6)
    assert found.d == pytest.approx(259_900)
    assert found.mean == pytest.approx(0.0020304, abs=1e-7)
    assert found.v == pytest.approx(2942.0231, abs=1e-4)
    low, high = mean_interval(found, mixture_rho(2942.0231 / 2, 0.05), 0.05)
    assert (low, high) == pytest.approx((0.0013915, 0.0026693), abs=1e-7)  # of the pooled days it is −0.0046


@given(numbers, st.floats(-2, 2))
def test_log_e_below_of_negated_values_equals_log_e_above(given_numbers, limit):
    flipped = [(unit, here, share, -r) for unit, here, share, r in given_numbers]
    above = log_e_mean_above(sums_of(given_numbers), limit, RHO)
    assert log_e_mean_below(sums_of(flipped), -limit, RHO) == pytest.approx(above, abs=1e-9)


@given(numbers, st.floats(-2, 2), st.floats(0, 2))
def test_log_e_above_falls_as_the_limit_rises(given_numbers, limit, more):
    found = sums_of(given_numbers)
    assert log_e_mean_above(found, limit + more, RHO) <= log_e_mean_above(found, limit, RHO) + 1e-9


@pytest.mark.parametrize("found", [MeanSums(), sums_of([(i, i % 2 == 0, 0.5, 0.0) for i in range(50)])])
def test_constant_values_give_no_evidence(found):
    assert mean_interval(found, RHO, 0.05) == (-inf, inf)
    assert log_e_mean_above(found, 0.0, RHO) == gain_mean(found, 0.0, 50) == 0


def test_log_e_of_a_higher_mean_grows_as_gain_mean_says():
    half, whole = MeanSums(), MeanSums()
    add_binary(half, 0.5, (20_000, 4_000), (20_000, 2_000))
    add_binary(whole, 0.5, (40_000, 8_000), (40_000, 4_000))
    rho = mixture_rho(half.v, 0.02)
    low, high = mean_interval(half, rho, 0.01)
    assert 0.05 < low < half.mean < high < 0.15
    growth = log_e_mean_above(whole, 0.05, rho) - log_e_mean_above(half, 0.05, rho)
    assert growth == pytest.approx(40_000 * gain_mean(whole, 0.05, 80_000), rel=0.35)


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
    assert log_e_drift(-29.99, 0.0, 1.0) == pytest.approx(log_e_drift(-30.01, 0.0, 1.0), rel=3e-3)
