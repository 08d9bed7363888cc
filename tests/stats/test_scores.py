"""Scores by bucket: any number has its place, in order, and cuts are deciles of what was known before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.scores import ScoreBins, Scores, bucket_of_score, cuts_of

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
def test_where_scores_fall(score, bucket):
    assert bucket_of_score(score) == bucket


@given(st.lists(numbers, max_size=20), st.lists(numbers, max_size=20))
def test_merging_is_one_stream(a, b):
    merged = scored(a)
    merged.merge(scored(b))
    assert merged == scored(a + b)


def test_cuts_are_deciles():
    assert cuts_of(scored(i / 1000 for i in range(1000))) == (19, 39, 59, 79, 99, 119, 139, 159, 179)


def test_a_score_that_most_requests_have_is_one_cut():
    assert cuts_of(scored([0.0] * 80 + [0.5] * 15 + [0.9] * 5)) == (0, 100)
    assert cuts_of(scored([0.3] * 100)) == ()
    assert cuts_of(Scores()) == ()


@given(st.lists(numbers, min_size=1, max_size=60), st.integers(2, 10))
def test_there_are_at_most_as_many_bins_as_wanted(values, bins):
    cuts = cuts_of(scored(values), bins)
    assert len(cuts) < bins
    assert list(cuts) == sorted(set(cuts))


def test_bins_hold_what_is_above_a_cut_up_to_the_next():
    bins = ScoreBins.between((10, 20))
    bins.add(scored([0.0, 0.05, 0.0549, 0.055, 0.9]), scored([0.1]))
    assert (bins.here, bins.rest) == ([3, 1, 1], [0, 1, 0])
