"""Exact tests against textbook values, and against sums of whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.exact import chance_of_share, chance_of_split


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((3, 4, 1, 4), 17 / 70),  # Fisher's lady tasting tea
        ((10, 20, 0, 20), 2.1796e-4),
        ((10, 10, 0, 10), 1 / comb(20, 10)),
        ((5, 5, 0, 0), 1.0),  # nobody to compare with
        ((0, 10, 5, 10), 1.0),
        ((0, 0, 0, 0), 1.0),
    ],
)
def test_the_chance_of_a_split(counts: tuple[int, int, int, int], expected: float) -> None:
    assert chance_of_split(*counts) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "n", "p", "expected"),
    [
        (11, 20, 0.5, 0.4119),
        (8, 10, 0.5, 56 / 1024),
        (10, 10, 0.25, 0.25**10),
        (0, 5, 0.1, 1.0),
        (0, 0, 0.1, 1.0),
    ],
)
def test_the_chance_of_a_share(x: int, n: int, p: float, expected: float) -> None:
    assert chance_of_share(x, n, p) == pytest.approx(expected, rel=1e-4)


SIDES = st.tuples(st.integers(0, 60), st.integers(1, 60)).filter(lambda side: side[0] <= side[1])


@given(SIDES, SIDES)
def test_a_split_is_the_tail_of_the_hypergeometric_law(here: tuple[int, int], rest: tuple[int, int]) -> None:
    (x, n), (y, m) = here, rest
    tail = sum(comb(n, i) * comb(m, x + y - i) for i in range(x, min(n, x + y) + 1))
    exact = Fraction(tail, comb(n + m, x + y))
    found = chance_of_split(x, n, y, m)
    assert found == (1.0 if x * m <= y * n else pytest.approx(float(exact), rel=1e-9))
