"""Distributions of scores: reference values, exact expectations, and which differences each test finds."""

from __future__ import annotations

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.divergence import (
    SplitBins,
    distance_logs,
    ks_distance,
    log_e_band,
    log_e_differ,
    stability_index,
)
from crossfade.stats.sequential import log_mean_exp

DECILES = tuple(i / 10 for i in range(1, 10))
EQUAL = (0.5, 0.3, 0.2)


@pytest.mark.parametrize(
    ("here", "expected"),
    [((1, 3, 6, 30), 12.860470), ((10, 10, 10, 10), -5.610126)],
)
def test_reference_values_of_the_beta_mixtures(here, expected):
    assert log_e_differ([SplitBins(0.05, here, (95,) * 4)]) == pytest.approx(expected, abs=1e-6)


def expectation(test, share: float, here, rest, requests: int) -> float:
    """Exact mean of e over so many requests, each with a side and a bin; summed over counts with their multiplicities."""
    chances = [share * p for p in here] + [(1 - share) * p for p in rest]
    found = {(0,) * len(chances): 1.0}
    for _ in range(requests):
        after: dict[tuple[int, ...], float] = {}
        for counts, p in found.items():
            for i, chance in enumerate(chances):
                grown = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
                after[grown] = after.get(grown, 0.0) + p * chance
        found = after
    bins = len(here)
    return sum(p * exp(test([SplitBins(share, counts[:bins], counts[bins:])])) for counts, p in found.items())


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_equal_distributions_have_expectation_at_most_one(share):
    assert expectation(log_e_differ, share, EQUAL, EQUAL, 6) <= 1


def test_missing_answers_of_one_side_are_no_difference():
    """Half of the answers are missing on one side. That is another share, not another distribution."""
    assert log_e_differ([SplitBins(0.5, (250, 150, 100), (500, 300, 200))]) < 0


def log_e_distance(strata, levels, limit: float) -> float:
    return log_mean_exp(distance_logs(strata, levels, limit))


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("here", [(0.6, 0.3, 0.1), (0.4, 0.3, 0.3), (0.5, 0.2, 0.3), EQUAL])
def test_a_distance_up_to_the_limit_has_expectation_at_most_one(share, here):
    def test(strata):
        return log_e_distance(strata, (0.5, 0.8), 0.1)

    assert expectation(test, share, here, EQUAL, 6) <= 1 + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("here", [(0.4, 0.36, 0.24), (0.6, 0.25, 0.15), EQUAL])
def test_ratios_inside_the_band_have_expectation_at_most_one(share, here):
    assert expectation(lambda strata: log_e_band(strata, 1.25), share, here, EQUAL, 6) <= 1 + 1e-9


bins = st.lists(st.integers(0, 60), min_size=10, max_size=10)
strata = st.lists(st.builds(SplitBins, st.sampled_from([0.05, 0.5]), bins, bins), min_size=1, max_size=3)


@given(strata)
def test_order_and_grouping_of_the_scores_do_not_matter(found):
    halves = [SplitBins(w, [x // 2 for x in here], [x // 2 for x in rest]) for w, here, rest in found]
    others = [
        SplitBins(w, [x - x // 2 for x in here], [x - x // 2 for x in rest])
        for w, here, rest in reversed(found)
    ]
    parts = [*others, *halves]
    assert log_e_distance(parts, DECILES, 0.1) == pytest.approx(log_e_distance(found, DECILES, 0.1), abs=1e-6)
    assert log_e_band(parts, 1.5) == pytest.approx(log_e_band(found, 1.5), abs=1e-6)


@given(strata, st.floats(0, 0.3), st.floats(0, 0.2))
def test_log_e_distance_falls_as_the_limit_rises(found, limit, more):
    """It does so at each cut, so the mean does too."""
    wide, narrow = (log_e_distance(found, DECILES, at) for at in (limit + more, limit))
    assert wide <= narrow + 1e-6 or narrow < 0


def test_without_scores_there_is_no_evidence():
    no_scores = [SplitBins(0.05, (0,) * 10, (0,) * 10)]
    assert log_e_distance(no_scores, DECILES, 0.1) == pytest.approx(0)
    assert log_e_band(no_scores, 1.5) == pytest.approx(0)
    assert log_e_distance([], DECILES, 0.1) == pytest.approx(0)


def drawn(rng: random.Random, size: int, power: float) -> list[int]:
    """Counts by decile of scores u^power."""
    out = [0] * 10
    for _ in range(size):
        out[int(rng.random() ** power * 10)] += 1
    return out


def test_a_difference_beyond_the_limit_is_found_and_one_within_is_not():
    rng = random.Random(3)
    far, near = (SplitBins(0.2, drawn(rng, 2000, p), drawn(rng, 8000, 1.0)) for p in (0.5, 0.85))
    assert log_e_distance([far], DECILES, 0.1) > log(1000) > 0 > log_e_distance([near], DECILES, 0.1)
    assert log_e_band([far], 1.5) > log(1000) > 0 > log_e_band([near], 1.5)
    assert log_e_differ([near]) > log(100)  # the distributions do differ, which fails no check


def test_ks_distance_is_the_largest_difference_of_cumulative_shares():
    assert ks_distance((10, 20, 70), (30, 30, 40)) == pytest.approx(0.3)
    assert ks_distance((1, 2, 7), (10, 20, 70)) == pytest.approx(0)
    assert ks_distance((1, 2), (0, 0)) == 0


def test_the_stability_index_by_hand():
    assert stability_index((10, 10), (100, 100)) == pytest.approx(0, abs=1e-9)
    assert stability_index((199, 99), (149, 149)) == pytest.approx((2 / 3 - 0.5) * log(2), abs=0.005)
