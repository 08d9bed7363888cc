from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.binomial import interval, lower_bound, upper_bound


def exact_cdf(k: int, n: int, p: Fraction) -> Fraction:
    return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


@given(n=st.integers(1, 60), weight=st.integers(1, 99), risk=st.sampled_from([0.0005, 0.001, 0.025, 0.3]))
def test_bounds_equal_those_of_exact_arithmetic(n: int, weight: int, risk: float) -> None:
    p = Fraction(weight, 100)
    low = lower_bound(n, float(p), risk)
    assert low == 0 or exact_cdf(low - 1, n, p) <= risk
    assert exact_cdf(low, n, p) > risk
    high = upper_bound(n, float(p), risk)
    assert 1 - exact_cdf(high, n, p) <= risk + 1e-12
    assert low <= high


@pytest.mark.parametrize(
    ("n", "p", "expected"),
    [(0, 0.5, (0, 0)), (100, 0.0, (0, 0)), (100, 1.0, (100, 100)), (1, 0.5, (0, 1)), (10, 0.5, (0, 10))],
)
def test_intervals_at_the_limits_of_n_and_p(n: int, p: float, expected: tuple[int, int]) -> None:
    assert interval(n, p) == expected


def test_large_counts_match_the_normal_approximation() -> None:
    low, high = interval(100_000, 0.1)
    assert abs(low - (10_000 - 3.29 * 94.87)) < 3
    assert abs(high - (10_000 + 3.29 * 94.87)) < 3
