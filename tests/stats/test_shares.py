"""The sample ratio test against reference values of Optimizely's ssrm and of savvi, and its expectation."""

from __future__ import annotations

from math import comb, exp

import pytest

from crossfade.stats.sequential import bound
from crossfade.stats.shares import log_e_shares


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((20, 17, 9), -2.9505608),
        ((38, 38, 17), -3.6819009),
        ((42, 44, 21), -3.8606584),
        ((60, 63, 32), -4.1838140),
    ],
)
def test_reference_values_of_ssrm(counts, expected):
    assert log_e_shares(counts, (0.4, 0.4, 0.2), (1, 1, 1)) == pytest.approx(expected, abs=1e-6)


def test_reference_value_of_savvi():
    assert exp(-log_e_shares((40, 129, 233), (0.1, 0.4, 0.5))) == pytest.approx(0.048456, abs=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_expectation_is_one_when_the_shares_are_right(share):
    n = 30
    total = sum(
        comb(n, x) * share**x * (1 - share) ** (n - x) * exp(log_e_shares((x, n - x), (share, 1 - share)))
        for x in range(n + 1)
    )
    assert total == pytest.approx(1, abs=1e-9)


def test_too_few_and_too_many_trials_are_both_found():
    shares = (0.05, 0.95)
    assert log_e_shares((0, 0), shares) == 0
    assert log_e_shares((250, 4750), shares) < 0
    for here in (100, 400):
        assert log_e_shares((here, 5000 - here), shares) > bound(0.001)
