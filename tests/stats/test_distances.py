"""Distances of pairs beyond the champion's own: exact expectations, and intervals."""

from __future__ import annotations

from itertools import product
from math import exp, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.bounded import LEVELS
from crossfade.stats.distances import (
    Distances,
    distance_interval,
    distance_level,
    gain_distance,
    log_e_distance,
    mixed_interval,
)
from crossfade.stats.sequential import bound

levels = st.integers(0, LEVELS)
rows = st.lists(st.tuples(st.none() | levels, st.none() | levels, st.just(0.25)), max_size=12)


def distances_of(found) -> Distances:
    out = Distances()
    for row in found:
        out.add(*row)
    return out


@given(rows, rows)
def test_merged_distances_equal_those_of_all_pairs(a, b):
    merged = distances_of(a)
    merged.merge(distances_of(b))
    assert merged == distances_of(a + b)


@given(rows)
def test_means_are_those_of_the_pairs(found):
    counts = distances_of(found)
    asked = [(level, noise) for level, noise, _ in found if level is not None]
    again = [noise for _, noise in asked if noise is not None]
    assert (counts.n, counts.twice) == (len(asked), len(again))
    assert counts.mean == pytest.approx(sum(d for d, _ in asked) / LEVELS / max(len(asked), 1))
    assert counts.noise == pytest.approx(sum(again) / LEVELS / max(len(again), 1))


def expectation(distance: float, noise: float, margin: float, chance: float, size: int) -> float:
    """Exact mean over `size` pairs at these mean distances; each pair is at 0 or at 1/2, as the champion's is."""
    p, q, half = 2 * distance, 2 * noise, LEVELS // 2
    outcomes = [
        (chance * p * q, (half, half, chance)),
        (chance * p * (1 - q), (half, 0, chance)),
        (chance * (1 - p) * q, (0, half, chance)),
        (chance * (1 - p) * (1 - q), (0, 0, chance)),
        ((1 - chance) * p, (half, None, chance)),
        ((1 - chance) * (1 - p), (0, None, chance)),
    ]
    return sum(
        prod(share for share, _ in path) * exp(log_e_distance(distances_of(row for _, row in path), margin))
        for path in product(outcomes, repeat=size)
    )


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("chance", [0.05, 1.0])
def test_the_expectation_is_one_at_the_margin_for_any_noise(noise, chance):
    assert expectation(noise + 0.1, noise, 0.1, chance, 4) == pytest.approx(1, abs=1e-9)


def test_the_expectation_is_below_one_below_the_margin():
    assert expectation(0.25, 0.2, 0.1, 0.5, 4) < 1


def test_without_second_answers_of_the_champion_there_is_no_evidence():
    alone = distances_of([(LEVELS, None, 0.0)] * 1000)
    assert log_e_distance(alone, 0.05) == gain_distance(alone, 0.05) == gain_distance(Distances(), 0.05) == 0
    assert distance_interval(alone, 0.05) == mixed_interval(alone, 0.05) == (-1, 1)


def noisy(level: int, noise: int, n: int = 2000, chance: float = 0.05) -> Distances:
    """Every 1/chance-th pair has asked the champion twice."""
    each = round(1 / chance)
    return distances_of((level, noise if k % each == 0 else None, chance) for k in range(n))


def test_distance_is_found_beside_a_consistent_champion_but_not_beside_a_noisy_one():
    assert log_e_distance(noisy(16, 0), 0.05) > bound(0.001)
    assert log_e_distance(noisy(16, 16), 0.05) < bound(0.001)
    assert gain_distance(noisy(16, 0), 0.05) > gain_distance(noisy(8, 0), 0.05) > 0


@pytest.mark.parametrize("interval", [distance_interval, mixed_interval])
def test_the_interval_narrows_around_the_excess(interval):
    short, long = (interval(noisy(16, 8, n), 0.05) for n in (2000, 200_000))
    assert short[0] < long[0] < 0.125 < long[1] < short[1]
    assert long[1] - long[0] < 0.02
    assert short[0] >= -1 and short[1] <= 1


@given(st.lists(st.tuples(levels, levels, st.just(1.0)), min_size=1, max_size=12))
def test_a_limit_below_the_interval_is_refuted(found):
    counts = distances_of(found)
    low, high = distance_interval(counts, 0.02)
    assert low < high
    if low > -0.99:
        assert log_e_distance(counts, low - 1e-3) >= bound(0.01)
        assert log_e_distance(counts, low + 1e-3) < bound(0.01)


@given(st.floats(0, 1))
def test_a_level_rounds_up_in_proportion(distance):
    tosses = [(k + 0.5) / 1000 for k in range(1000)]
    mean = sum(distance_level(distance, toss) for toss in tosses) / 1000 / LEVELS
    assert mean == pytest.approx(distance, abs=1e-3)
