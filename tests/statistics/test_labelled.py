"""Feedback and labels at continuous looks: a challenger at its limit is not aborted, one beyond it is, and coverage is no false alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtests.binomial import clopper_pearson
from loadtests.labelled import ACCURACY, LABELS_ALIKE, LABELS_UNLIKE, LOOK, LabelWorld, Predictions, run
from loadtests.rollouts import CHALLENGER, Result

ALPHA, RUNS, UNITS = 0.05, 15, 1500


def ends(world: LabelWorld, runs: int = RUNS, units: int = UNITS) -> list[Result]:
    short = replace(world, units=units)
    return [run(short, np.random.default_rng([seed, len(world.name)]), ALPHA) for seed in range(runs)]


@pytest.mark.parametrize("world", LABELS_ALIKE, ids=lambda world: world.name)
def test_a_challenger_at_its_limit_fails_with_alpha_at_most(world):
    """The rate is not proven to be above α, with 97.5 %; and no side is found to have more labels."""
    found = ends(world)
    failed = sum(each.end == "aborted" for each in found)
    assert clopper_pearson(failed, RUNS)[0] <= ALPHA
    assert sum("coverage" in each.checks for each in found) == 0


@pytest.mark.parametrize("world", LABELS_UNLIKE, ids=lambda world: world.name)
def test_a_challenger_beyond_its_limit_fails(world):
    assert [each.end for each in ends(world, 3, world.units)] == ["aborted"] * 3


def test_each_prediction_taken_as_a_customer_of_its_own_would_fail_more_often():
    """So the test before can fail: a z test of all predictions, at each look, of customers who differ."""
    world = next(w for w in LABELS_ALIKE if w.name == "feedback: accuracy, 800 customers, some with most")
    failed = 0
    for seed in range(RUNS):
        failed += plain_z_fails(world, np.random.default_rng(seed))
    assert clopper_pearson(failed, RUNS)[0] > ALPHA


def plain_z_fails(world: LabelWorld, rng: np.random.Generator) -> bool:
    drawn, right = Predictions(world, rng), {True: list[float](), False: list[float]()}
    for _ in range(6 * UNITS // LOOK):
        for row in drawn.draw(1, 0.25, 0.5):
            if row.said is not None and row.feedback:
                label = row.feedback["label"]
                assert isinstance(label, float)
                right[row.backend == CHALLENGER].append(float(row.said.label == (label >= 0.5)))
        here, rest = (np.array(right[side]) for side in (True, False))
        spread = np.sqrt(here.var() / len(here) + rest.var() / len(rest))
        if (here.mean() - rest.mean()) / spread < -1.645:
            return True
    return False


@pytest.mark.parametrize("delays", [(0.2, 2.0), (2.0, 0.2)])
def test_labels_that_come_later_on_one_side_are_no_verdict(delays):
    """Of two equal models, the labels of one are often behind the horizon, and those of the customers who left more often."""
    world = LabelWorld("one side", ACCURACY, delay=delays)
    found = ends(world, 10)
    assert (
        sum(each.end == "aborted" for each in found) <= 1
    )  # by its first few labels, before anything is known of the others
    assert sum("coverage" in each.checks for each in found) >= 9


def test_labels_that_come_later_on_one_side_and_within_the_horizon_are_the_same_evidence():
    """What is ripe does not depend on when its labels came."""
    soon, late = (ends(LabelWorld("within", ACCURACY, delay=delay), 3) for delay in ((0.0, 0.0), (0.0, 0.02)))
    assert [each.end for each in soon] == [each.end for each in late]
    assert [each.why for each in soon] == [each.why for each in late]
