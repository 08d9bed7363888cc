"""Histograms of durations against the sorted values that were added."""

from __future__ import annotations

from bisect import bisect_right
from math import floor, inf, log10
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.stats.histogram import GAMMA, UNIT, Histogram, bucket_of, high_quantile, upper_edge
from tests.tries import tries

DURATIONS = st.floats(1e-6, 1e4)
MANY = st.lists(DURATIONS, min_size=1, max_size=60)
ACCURACY = (GAMMA - 1) / (GAMMA + 1)
ROUNDING = 1e-9  # error of the logarithms at the edges
EDGES = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]


def histogram(values) -> Histogram:
    out = Histogram()
    for value in values:
        out.add(value)
    return out


def close(found: float | None, true: float) -> bool:
    return found is not None and abs(found - true) <= true * (ACCURACY + ROUNDING)


def exact(values: list[float], q: float) -> float:
    return sorted(values)[floor(q * (len(values) - 1))]


def test_accuracy_is_better_than_one_percent():
    assert ACCURACY < 0.01


@given(DURATIONS)
def test_a_value_lies_in_its_bucket(value):
    bucket = bucket_of(value)
    assert bucket >= 0
    assert upper_edge(bucket - 1) * (1 - ROUNDING) <= value <= upper_edge(bucket) * (1 + ROUNDING)


@given(DURATIONS, DURATIONS)
def test_buckets_keep_the_order_of_values(a, b):
    assert (bucket_of(a) <= bucket_of(b)) or a > b


@settings(max_examples=tries(300))
@given(MANY, st.floats(0, 1) | st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_has_the_stated_accuracy(values, q):
    assert close(histogram(values).quantile(q), exact(values, q))


@given(
    st.lists(st.lists(DURATIONS, max_size=60) | st.lists(st.sampled_from([0.001, 0.02, 3.0])), max_size=8),
    st.floats(0, 1) | st.sampled_from([0.5, 0.99]),
)
def test_a_high_quantile_of_parts_is_that_of_their_sum(parts, q):
    whole = Histogram()
    for part in parts:
        whole.merge(histogram(part))
    assert high_quantile([histogram(part) for part in parts], q) == whole.quantile(q)


@pytest.mark.parametrize("others", [1, 5, 200])
def test_a_high_quantile_is_right_where_the_largest_part_is_not_like_the_others(others):
    """It is far above those of the others, and far below."""
    parts = [histogram([2.0] * 100)] + [histogram([0.001] * 99)] * others
    whole = Histogram()
    for part in [*parts, histogram([0.5])]:
        whole.merge(part)
    assert high_quantile([*parts, histogram([0.5])], 0.99) == whole.quantile(0.99)
    low = [histogram([0.001] * 100)] + [histogram([2.0] * 99)] * others
    assert close(high_quantile(low, 0.99), 2.0)


@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.99, 0.999])
def test_quantiles_of_20_000_values_have_the_stated_accuracy(q):
    random = Random(7)
    values = [random.lognormvariate(-4, 1.2) for _ in range(20_000)]
    assert close(histogram(values).quantile(q), exact(values, q))


def test_a_quantile_is_in_the_middle_of_its_bucket():
    value = histogram([0.1]).quantile(0.5)
    assert value is not None
    bucket = bucket_of(0.1)
    low, high = upper_edge(bucket - 1), upper_edge(bucket)
    assert (value - low) / low == pytest.approx(ACCURACY)
    assert (high - value) / high == pytest.approx(ACCURACY)


def test_an_empty_histogram_has_no_quantile():
    assert Histogram().quantile(0.5) is None
    assert Histogram().cumulative([1.0]) == [(1.0, 0), (inf, 0)]
    assert Histogram().above(0) == 0


@pytest.mark.parametrize("value", [0.0, 1e-9, UNIT, -1.0])
def test_durations_of_zero_or_less_count_as_a_microsecond(value):
    """The clock may stand still or step back."""
    out = histogram([value, 1.0])
    assert (out.count, out.buckets[0]) == (2, 1)
    assert out.quantile(0) == pytest.approx(UNIT, rel=0.02)


def test_count_and_total_are_exact():
    out = histogram([0.5, 0.25, 4.0])
    assert (out.count, out.total) == (3, 4.75)


@given(st.lists(MANY, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_merged_histograms_equal_that_of_all_values_in_any_order(parts, random):
    whole = histogram([value for part in parts for value in part])
    random.shuffle(parts)
    merged = Histogram()
    for part in parts:
        merged.merge(histogram(part))
    assert merged.buckets == whole.buckets
    assert merged.count == whole.count
    assert merged.total == pytest.approx(whole.total)


def test_merging_does_not_change_the_other_histogram():
    one, other = histogram([1.0]), histogram([1.0, 2.0])
    one.merge(other)
    one.add(2.0)
    assert (one.count, other.count) == (4, 2)
    assert sorted(other.buckets.values()) == [1, 1]


@given(MANY, st.integers(0, 1200))
def test_above_equals_a_count_of_values_in_higher_buckets(values, bucket):
    assert histogram(values).above(bucket) == sum(bucket_of(v) > bucket for v in values)


def test_above_by_hand():
    out = histogram([0.010, 0.0999, 0.1001, 0.2, 0.2])
    assert out.above(bucket_of(0.05)) == 4
    assert out.above(bucket_of(0.15)) == 2
    assert out.above(bucket_of(0.5)) == 0


@given(MANY, st.lists(DURATIONS, min_size=1, max_size=6, unique=True).map(sorted))
def test_cumulative_equals_a_recount_within_a_bucket(values, edges):
    """A value above an edge but in the bucket of the edge counts as below: an error of less than 2 % in time."""
    out = histogram(values).cumulative(edges)
    values.sort()
    assert [edge for edge, _ in out] == [*edges, inf]
    for edge, n in out[:-1]:
        assert bisect_right(values, edge) <= n <= bisect_right(values, edge * GAMMA * (1 + ROUNDING))
    assert out[-1] == (inf, len(values))


def test_cumulative_of_many_values():
    random = Random(11)
    values = [10 ** random.uniform(log10(0.0005), log10(20)) for _ in range(5000)]
    counts = [n for _, n in histogram(values).cumulative(EDGES)]
    assert counts == sorted(counts)
    for edge, n in zip(EDGES, counts, strict=False):
        below, near = (sum(v <= e for v in values) for e in (edge, edge * GAMMA))
        assert below <= n <= near
    assert counts[-1] == 5000


@given(MANY)
def test_an_encoded_histogram_decodes_to_an_equal_one(values):
    sent = histogram(values)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Histogram) == sent


@given(
    values=st.lists(st.floats(1e-5, 100), min_size=1, max_size=60),
    qs=st.lists(st.floats(0, 1), min_size=1, max_size=5).map(sorted),
)
def test_quantiles_equals_single_calls_of_quantile(values, qs):
    filled = histogram(values)
    assert filled.quantiles(qs) == [filled.quantile(q) for q in qs]
    ordered = sorted(values)
    for q, found in zip(qs, filled.quantiles(qs), strict=True):
        assert found == pytest.approx(ordered[int(q * (len(values) - 1))], rel=0.02)


def test_durations_are_taken_away_where_they_lie():
    times = [0.01] * 60 + [0.02] * 30 + [0.5] * 10
    low, high = bucket_of(0.1), bucket_of(0.015)
    left = Histogram.of(times).without(40, [(low, 8), (high, 20)])
    assert left.count == 60
    assert (left.above(low), left.above(high)) == (2, 40 - 20)
    assert 0 < left.total < sum(times)


@given(
    st.lists(st.floats(1e-5, 100), max_size=50),
    st.integers(0, 80),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 80))),
)
def test_never_more_durations_are_taken_away_than_there_are(times, n, above):
    before = Histogram.of(times)
    left = before.without(n, above)
    assert all(0 < k <= before.buckets[b] for b, k in left.buckets.items())
    assert left.count == sum(left.buckets.values()) and left.total >= 0
    if n >= max([count for _, count in above], default=0):
        assert left.count == max(before.count - n, 0) or above
