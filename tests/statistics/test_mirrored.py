"""Checks of mirrored pairs at continuous looks: a challenger at its limit is not aborted, and one beyond it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtests.binomial import clopper_pearson
from loadtests.mirrored import ALIKE, DISTANCE, SEGMENTS, SLOWER, UNLIKE, Pairing, PairWorld, run
from loadtests.rollouts import Result

ALPHA, RUNS, PAIRS = 0.05, 80, 600
BY_NAME = {world.name: world for world in (*ALIKE, *UNLIKE)}


def ends(world: PairWorld, runs: int = RUNS, pairs: int = PAIRS) -> list[Result]:
    short = replace(world, pairs=pairs)
    return [run(short, np.random.default_rng([seed, len(world.name)]), ALPHA) for seed in range(runs)]


@pytest.mark.parametrize("world", ALIKE, ids=lambda world: world.name)
def test_a_challenger_at_its_limit_fails_with_alpha_at_most(world):
    """The rate is not proven to be above α, with 97.5 %."""
    failed = sum(found.end == "aborted" for found in ends(world))
    assert clopper_pearson(failed, RUNS)[0] <= ALPHA


def test_a_test_at_each_look_would_fail_more_often():
    """So the test before can fail: a plain test of the mean, repeated at each look, is wrong in more than α of the runs."""
    world, failed = replace(BY_NAME["the same, as 0 or 1"], chance=1.0), 0
    for seed in range(RUNS):
        pairing = Pairing(world, np.random.default_rng(seed))
        pairs = [pair.measured for pair in pairing.draw(PAIRS)]
        z = np.array([((m.distance or 0) - (m.noise_distance or 0)) / 64 - 0.05 for m in pairs if m])
        n = np.arange(1, PAIRS + 1)
        spread = np.sqrt(np.maximum(np.cumsum(z * z) / n - (np.cumsum(z) / n) ** 2, 1e-9))
        failed += bool((np.cumsum(z) / np.sqrt(n) / spread > 1.645)[49::50].any())
    assert clopper_pearson(failed, RUNS)[0] > 2 * ALPHA


@pytest.mark.parametrize("world", UNLIKE, ids=lambda world: world.name)
def test_a_challenger_beyond_its_limit_fails(world):
    found = ends(world, 6, world.pairs)
    assert [each.end for each in found] == ["aborted"] * 6


@pytest.mark.parametrize(
    ("question", "keys"),
    [
        (DISTANCE, {"distance": 0.12, "noise": 0.1}),
        (SEGMENTS, {"changed": 0.03, "unlike": 0.03, "segments": 5}),
        (SLOWER, {"factor": 1.05, "chance": 0.5}),
    ],
)
def test_a_challenger_that_keeps_its_limit_passes(question, keys):
    found = ends(PairWorld("", question, **keys), 10, 4000)
    assert sum(each.end == "promoted" for each in found) >= 8
    assert not any(each.end == "aborted" for each in found)
