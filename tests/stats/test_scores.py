"""Scores by bucket: buckets keep the order of scores, and cuts are deciles of the reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.scores import Levels, Scores, bucket_of_score, levels_of

numbers = st.floats(allow_nan=False, allow_infinity=False)


def scored(values) -> Scores:
    out = Scores()
    for value in values:
        out.add(value)
    return out


@given(numbers, numbers)
def test_buckets_keep_the_order_of_scores(a, b):
    low, high = sorted((a, b))
    assert bucket_of_score(low) <= bucket_of_score(high)


@pytest.mark.parametrize(
    ("score", "bucket"),
    [(0.0, 0), (-0.0, 0), (0.0049, 0), (0.5, 100), (0.999, 199), (1.0, 200), (1.03, 201), (-0.001, -1)],
)
def test_bucket_of_score(score, bucket):
    assert bucket_of_score(score) == bucket


@given(st.lists(numbers, max_size=20), st.lists(numbers, max_size=20))
def test_merged_scores_equal_those_of_all_values(a, b):
    merged = scored(a)
    merged.merge(scored(b))
    assert merged == scored(a + b)


def test_cuts_are_deciles():
    levels = levels_of(scored(i / 1000 for i in range(1000)))
    assert levels.cuts == (19, 39, 59, 79, 99, 119, 139, 159, 179)
    assert levels.below == pytest.approx([i / 10 for i in range(1, 10)])


def test_a_frequent_score_makes_one_cut_and_a_single_score_one_on_each_side():
    assert levels_of(scored([0.0] * 80 + [0.5] * 15 + [0.9] * 5)) == Levels((0, 100), (0.8, 0.95))
    assert levels_of(scored([0.3] * 100)) == Levels((59, 60), (0.005, 0.995))
    assert levels_of(scored([0.1] * 5 + [0.3] * 95)) == Levels((59, 60), (0.05, 0.995))
    assert levels_of(Scores()) == Levels((), ())


@given(st.lists(numbers, min_size=1, max_size=60), st.integers(2, 10))
def test_there_are_at_most_the_given_number_of_bins(values, bins):
    levels = levels_of(scored(values), bins)
    assert len(levels.cuts) == len(levels.below) < max(bins, 3)
    assert list(levels.cuts) == sorted(set(levels.cuts))
    assert all(0 < level < 1 for level in levels.below)


def test_a_bin_holds_the_scores_above_one_cut_up_to_the_next():
    levels = Levels((10, 20), (0.3, 0.6))
    assert levels.binned(scored([0.0, 0.05, 0.0549, 0.055, 0.9])) == [3, 1, 1]
    assert levels.binned(Scores()) == [0, 0, 0]
