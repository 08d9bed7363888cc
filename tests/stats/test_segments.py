"""Pairs by segment, and which segments are flagged."""

from __future__ import annotations

from math import exp, log

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade.stats.segments import (
    MOST_SOURCES,
    MOST_VALUES,
    OTHER,
    SegmentPairs,
    Segments,
    add_segment,
    flagged,
    in_order,
    log_e_segments,
    merge_segments,
    weighted,
)
from crossfade.stats.sequential import bound

pairs = st.tuples(
    st.sampled_from(["country", "plan"]),
    st.sampled_from(["", "a", "b", "c"]),
    st.booleans(),
    st.sampled_from([None, True, False]),
)
logs_of = st.lists(st.floats(-50, 50), max_size=8)


def segments_of(found) -> Segments:
    out: Segments = {}
    for source, value, changed, noise in found:
        add_segment(out, source, value, SegmentPairs.of(changed, 0.25, noise))
    return out


@given(st.lists(pairs, max_size=12), st.lists(pairs, max_size=12))
def test_merged_segments_equal_those_of_all_pairs(a, b):
    merged = segments_of(a)
    merge_segments(merged, segments_of(b))
    assert merged == segments_of(a + b)


@given(st.lists(pairs, max_size=12))
def test_the_order_of_arrival_outlives_a_journal_that_sorts_keys(found):
    segments = segments_of(found)
    stored = msgspec.json.decode(msgspec.json.encode(segments, order="sorted"), type=Segments)
    again: Segments = {}
    merge_segments(again, stored)
    assert again == segments
    assert [each[:2] for each in in_order(stored)] == list(dict.fromkeys((s, v) for s, v, *_ in found))


def test_one_pair_counts_in_each_field():
    assert SegmentPairs.of(True, 0.5, True) == SegmentPairs(1, 1, 0.5, 1, 1, 1)
    assert SegmentPairs.of(True, 0.5, None) == SegmentPairs(1, 1, 0.5, 0, 0, 0)
    assert SegmentPairs.of(False, 0.5, False).chance == 0.5
    assert SegmentPairs().chance == 0


def test_values_and_sources_are_bounded():
    segments = segments_of(("user", str(n), False, None) for n in range(3 * MOST_VALUES))
    assert len(segments["user"]) == MOST_VALUES + 1
    assert segments["user"][OTHER].n == 2 * MOST_VALUES
    add_segment(segments, "user", "0", SegmentPairs.of(True, 0.0, None))
    assert segments["user"]["0"].n == 2
    for n in range(2 * MOST_SOURCES):
        add_segment(segments, str(n), "v", SegmentPairs.of(True, 0.0, None))
    assert len(segments) == MOST_SOURCES
    add_segment(segments, "0", "x" * 10_000, SegmentPairs.of(True, 0.0, None))
    assert max(map(len, segments["0"])) == 256


def test_e_bh_flags_as_in_the_reference():
    found = [log(e / 5) for e in (3, 400, 12, 90, 30)]
    assert flagged(found, 0.05) == [False, True, False, True, False]
    assert flagged([], 0.05) == []


@given(logs_of, st.floats(0.001, 0.5))
def test_the_evidence_reaches_the_bound_where_a_segment_is_flagged(logs, alpha):
    evidence = log_e_segments(logs)
    assume(logs and abs(evidence - bound(alpha)) > 1e-9)  # sums of logarithms are rounded
    assert any(flagged(logs, alpha)) == (evidence >= bound(alpha))


@given(logs_of)
def test_the_evidence_is_at_most_the_weighted_sum(logs):
    found = [weighted(each, rank) for rank, each in enumerate(logs, 1)]
    assert exp(log_e_segments(found)) <= sum(map(exp, found)) * (1 + 1e-9) or not logs


def test_all_weights_add_up_to_one():
    most = MOST_SOURCES * (MOST_VALUES + 1)
    assert sum(exp(weighted(0.0, rank)) for rank in range(1, most + 1)) == pytest.approx(1)
