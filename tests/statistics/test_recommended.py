"""Recommendations at continuous looks: an equal challenger is KEEP, A/A tests find nothing, and a gain is found."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.rollout.plan import Goal
from crossfade.rollout.recommendation import Advice

from .kpi_worlds import check_on, conversion, customers, independent, rare, revenue, unequal
from .recommended import common, rising, run, run_several

EVENT, AMOUNT = check_on(min_increase=0, kind="event"), check_on(min_increase=0)
UNITS = 3000


def test_a_challenger_of_the_same_value_is_kept_out_in_20_of_20():
    rng, goal = np.random.default_rng(1), Goal(EVENT.title, 0.08)
    said = [run(independent(common, 6000), EVENT, goal, 0.01, rng, 1.0).advice for _ in range(20)]
    assert said == [Advice.KEEP] * 20


@pytest.mark.parametrize(
    ("world", "check"),
    [
        (independent(conversion, UNITS), EVENT),
        (independent(revenue, UNITS), AMOUNT),
        (independent(rare, UNITS), AMOUNT),
        (independent(unequal, UNITS), AMOUNT),
        (customers(n=600), AMOUNT),
        (rising(UNITS), AMOUNT),
    ],
    ids=["conversions", "revenue", "rare", "unequal", "customers", "rising"],
)
def test_none_of_20_tests_of_equals_is_significant_at_1_percent(world, check):
    """With a look after each 250 numbers. At α = 1 %, two or more of 20 have a probability of 2 % if the level were just kept."""
    rng, goal = np.random.default_rng(2), Goal(check.title, 0.05)
    said = [run(world, check, goal, 0.01, rng, 1.0) for _ in range(20)]
    assert sum(one.p_value <= 0.01 for one in said) == 0
    assert sum(one.advice is Advice.PROMOTE for one in said) == 0


def test_a_gain_of_just_min_lift_is_not_promoted_while_means_and_weights_rise():
    """The champion's mean is taken at the weights of the difference: over all its numbers alike, all would be promoted."""
    rng, goal = np.random.default_rng(3), Goal(AMOUNT.title, 0.5)
    said = [run(rising(), AMOUNT, goal, 0.05, rng, 1.5).advice for _ in range(8)]
    assert sum(advice is Advice.PROMOTE for advice in said) < 3


@pytest.mark.parametrize(
    ("gains", "advice"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": Advice.KEEP, "b": Advice.KEEP}),
        ({"a": 1.8, "b": 1.3}, {"a": Advice.PROMOTE, "b": Advice.KEEP}),
    ],
)
def test_the_best_of_two_challengers_is_found(gains, advice):
    rng, goal = np.random.default_rng(5), Goal(EVENT.title, 0.2)
    assert [run_several(gains, goal, 0.05, rng, 20_000) for _ in range(4)] == [advice] * 4


@pytest.mark.parametrize(("world", "check", "gain"), [(common, EVENT, 1.15), (None, AMOUNT, 1.25)])
def test_a_gain_is_found(world, check, gain):
    rng, goal = np.random.default_rng(4), Goal(check.title, 0.05)
    made = rising(UNITS) if world is None else independent(world, UNITS)
    assert [run(made, check, goal, 0.01, rng, gain).advice for _ in range(5)] == [Advice.PROMOTE] * 5
