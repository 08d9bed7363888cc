"""Durations of twice-asked requests."""

from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.histogram import bucket_of, upper_edge
from crossfade.stats.paired_latency import MOST, PairedLatency, bucket_for, is_slow

durations = st.none() | st.tuples(st.integers(0, 10), st.integers(0, 9), st.integers(0, 9))


def latency_of(found) -> PairedLatency:
    out = PairedLatency()
    for each in found:
        out.add(each)
    return out


@given(st.lists(durations, max_size=9), st.lists(durations, max_size=9))
def test_merged_durations_equal_all(a, b):
    merged = latency_of(a)
    merged.merge(latency_of(b))
    assert merged == latency_of(a + b)


def test_only_the_sides_are_kept():
    found = latency_of([(5, 1, 2), None, (6, 1, 3)])
    assert found.both == [(5, 1, 2), (6, 1, 3)]
    assert found.sides() == PairedLatency([], {1: 2}, {2: 1, 3: 1})


def test_a_report_is_bounded():
    assert sum(latency_of([(0, 1, 1)] * (MOST + 5)).copies.values()) == MOST


@given(st.integers(0, 1400))
def test_slow_is_above_the_bucket_of_the_limit(bucket):
    assert not is_slow(bucket, upper_edge(bucket))
    assert is_slow(bucket + 1, upper_edge(bucket))


def test_any_duration_has_a_bucket():
    assert bucket_for(-1.0) == 0
    assert bucket_for(float("inf")) == bucket_of(1e6)
