"""Means over units: merging, clusters, and an interval that holds at every look."""

from __future__ import annotations

import random
from math import isclose

from crossfade.stats.unit_means import UnitSums, around, interval_of


def _sums(units: list[list[float]]) -> UnitSums:
    sums = [(sum(values), len(values)) for values in units]
    return UnitSums(
        len(units),
        sum(n for _, n in sums),
        sum(x for x, _ in sums),
        sum(x * x for x, _ in sums),
        sum(x * n for x, n in sums),
        sum(n * n for _, n in sums),
    )


def test_of_units_with_one_row_the_variance_is_that_of_the_mean() -> None:
    found = _sums([[0.0]] * 30 + [[1.0]] * 10)
    assert found.mean == 0.25
    assert isclose(found.variance, 0.25 * 0.75 / 40)


def test_rows_of_one_customer_that_are_alike_count_once() -> None:
    alone, repeated = _sums([[0.0]] * 30 + [[1.0]] * 10), _sums([[0.0] * 7] * 30 + [[1.0] * 7] * 10)
    assert repeated.n == 7 * alone.n
    assert isclose(repeated.variance, alone.variance)


def test_there_is_no_interval_of_few_units_or_of_equal_ones() -> None:
    assert interval_of(_sums([[0.0], [1.0]] * 10)) is None
    assert interval_of(_sums([[1.0]] * 100)) is None


def test_an_interval_stays_in_its_range() -> None:
    found = interval_of(_sums([[0.0]] * 39 + [[1.0]]), 0.0, 1.0)
    assert found is not None
    assert found.low == 0.0
    assert found.high > 1 / 40


def test_it_covers_the_mean_at_all_looks_together() -> None:
    draw = random.Random(9)
    missed = 0
    for _ in range(300):
        total = squares = 0.0
        out = False
        for n in range(1, 1501):
            value = draw.expovariate(1.0)
            total, squares = total + value, squares + value * value
            if n >= 200 and n % 25 == 0:
                mean = total / n
                found = around(mean, (squares / n - mean * mean) / n, n)
                assert found is not None
                out = out or not found.low <= 1.0 <= found.high
        missed += out
    assert missed <= 20  # 15 would be 5 %
