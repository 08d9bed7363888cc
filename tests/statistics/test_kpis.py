"""KPIs while weights grow, at continuous looks: equal sides are not aborted, whatever the customers and the tails are like."""

from __future__ import annotations

import numpy as np
import pytest

from .kpi_worlds import check_on, conversion, customers, independent, rare, revenue, run, unequal

ALPHA, RUNS, UNITS = 0.05, 15, 3000


@pytest.mark.parametrize(
    ("world", "check"),
    [
        (customers(n=600), check_on(min_increase=0)),
        (customers(n=600), check_on(max_increase=0)),
        (customers(n=600, kind="event"), check_on(min_increase=0, kind="event")),
        (customers(n=600), check_on(min_increase=0, range=[0, 10])),
        (independent(revenue, UNITS), check_on(min_increase=0)),
        (independent(rare, UNITS), check_on(min_increase=0)),
        (independent(rare, UNITS), check_on(min=1)),
        (independent(unequal, UNITS), check_on(max_increase=0)),
        (independent(conversion, UNITS), check_on(min_increase=0, kind="event")),
    ],
)
def test_equal_sides_are_not_aborted(world, check):
    """Four of 15 at α = 5 % have a probability of 0.5 %. As independent numbers, those of customers gave 41 to 60 %."""
    rng = np.random.default_rng(8)
    assert sum(run(world, check, ALPHA, rng).fail > 0 for _ in range(RUNS)) < 4


def test_numbers_of_customers_taken_as_independent_would_be_aborted():
    """So the test before can fail: the same numbers, each as a request of its own."""
    rng, aborted = np.random.default_rng(8), 0

    def as_requests(given, gain):
        for fed in customers(n=600)(given, gain):
            yield [f._replace(number=f.number._replace(keyed=False, unit=i)) for i, f in enumerate(fed)]

    for _ in range(20):
        ends = [
            run(as_requests, check_on(**{bound: 0}), ALPHA, rng) for bound in ("min_increase", "max_increase")
        ]
        aborted += any(end.fail for end in ends)
    assert aborted >= 6  # at α = 5 % one expects 2


def test_halved_revenue_does_not_pass_as_a_small_loss():
    """The difference is −0.5 and the limit −0.1: it passed in 54 of 60 runs."""
    rng = np.random.default_rng(9)
    ends = [run(independent(rare), check_on(min_increase=-0.1), ALPHA, rng, 0.5) for _ in range(6)]
    assert sum(end.passed > 0 for end in ends) == 0
    assert sum(end.fail > 0 for end in ends) >= 5


@pytest.mark.parametrize("more", [{"kind": "event"}, {"range": [0, 1]}, {}])
def test_a_gain_is_found(more):
    rng = np.random.default_rng(9)
    check = check_on(min_increase=0, **more)
    assert sum(run(independent(conversion), check, ALPHA, rng, 1.6).passed > 0 for _ in range(5)) == 5
