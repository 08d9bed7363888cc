"""Points of the history: what is joined is what one would have counted, and what is stored comes back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.control.history_points import (
    DAY,
    FINEST,
    LEVELS,
    LIVE,
    Level,
    Point,
    by_step,
    column,
    joined,
    packed,
    quantiles,
    series,
    unpacked,
)
from crossfade.stats.histogram import Histogram

V2 = series(LIVE, "v2")
START = 1_700_006_400 - 1_700_006_400 % DAY


def point(durations: list[float], errors: int = 0, evidence: float | None = None) -> Point:
    histogram = Histogram.of(durations)
    values = {
        "seconds": 10.0,
        column("weight", V2): 0.95,
        column("requests", V2): float(len(durations)),
        column("errors", V2): float(errors),
    } | quantiles(V2, histogram.buckets)
    if evidence is not None:
        values[column("evidence", "v3", "error_rate <= 5%")] = evidence
    return Point(values, {V2: histogram.buckets} if durations else {})


seconds = st.lists(st.floats(1e-4, 30.0), max_size=20)


@given(st.lists(seconds, min_size=1, max_size=12))
def test_joined_points_have_the_sums_and_the_quantiles_of_all_requests(parts: list[list[float]]) -> None:
    whole = joined([point(part) for part in parts])
    every = Histogram.of([one for part in parts for one in part])
    assert whole.values["seconds"] == 10.0 * len(parts)
    assert whole.values[column("requests", V2)] == every.count
    if every.count:
        assert whole.durations[V2] == every.buckets
        assert whole.values[column("p50", V2)] == every.quantile(0.5)
        assert whole.values[column("p99", V2)] == every.quantile(0.99)


@given(st.lists(seconds, min_size=1, max_size=12), st.integers(0, 12))
def test_the_order_of_joining_does_not_matter(parts: list[list[float]], cut: int) -> None:
    points = [point(part) for part in parts]
    at_once = joined(points)
    halves = [joined(half) for half in (points[:cut], points[cut:]) if half]
    assert joined(halves).values == pytest.approx(at_once.values)


def test_where_only_quantiles_are_left_no_peak_is_hidden() -> None:
    calm, busy = point([0.1] * 9), point([1.0])
    found = joined([Point(calm.values), Point(busy.values)]).values
    assert found[column("p99", V2)] == busy.values[column("p99", V2)]
    assert found[column("p50", V2)] == pytest.approx(0.9 * 0.1 + 0.1 * 1.0, rel=0.01)


def test_the_last_evidence_and_weight_count() -> None:
    found = joined([point([], evidence=1.0), point([]), point([], evidence=2.5)]).values
    assert found[column("evidence", "v3", "error_rate <= 5%")] == 2.5
    assert found[column("weight", V2)] == 0.95


numbers = st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(
    st.sampled_from(LEVELS),
    st.dictionaries(st.integers(0, 59), st.dictionaries(st.sampled_from("abc"), numbers, min_size=1), max_size=20),
)  # fmt: skip
def test_a_block_comes_back_to_four_digits(level: Level, places: dict[int, dict[str, float]]) -> None:
    points = {START + place * level.step: Point(values) for place, values in places.items()}
    back = unpacked(packed(points, START, level), START, level)
    assert back.keys() == points.keys()
    for at, found in back.items():
        assert found.values == pytest.approx(points[at].values, rel=1.3e-4)


@given(
    st.sampled_from(LEVELS), st.dictionaries(st.integers(0, 59), st.integers(1, 999), min_size=1), st.data()
)
def test_points_are_added_to_a_block(level: Level, counts: dict[int, int], data: st.DataObject) -> None:
    first = data.draw(st.sets(st.sampled_from(sorted(counts))))
    points = {
        START + level.step * i: Point({"seconds": 10.0, "requests": float(n)}) for i, n in counts.items()
    }
    some = {at: point for at, point in points.items() if (at - START) // level.step in first}
    rest = {at: point for at, point in points.items() if at not in some}
    block = packed(rest, START, level, packed(some, START, level))
    assert unpacked(block, START, level) == points
    twice = unpacked(packed(points, START, level, block), START, level)
    assert {at: point.values["requests"] for at, point in twice.items()} == {
        at: 2 * point.values["requests"] for at, point in points.items()
    }


@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    try:
        unpacked(data, START, FINEST)
    except ValueError:
        return
    raise AssertionError("it was read")


def test_stretches_begin_at_multiples_of_the_step() -> None:
    points = {START + 10 * i: point([0.1]) for i in range(12)}
    minutes = by_step(points, 60)
    assert list(minutes) == [START, START + 60]
    assert [p.values[column("requests", V2)] for p in minutes.values()] == [6.0, 6.0]


def test_each_level_fills_whole_points_of_the_next_one() -> None:
    for finer, coarser in pairwise(LEVELS):
        assert coarser.step % finer.step == 0
        assert coarser.keep > finer.keep
    assert all(level.block % level.step == 0 and level.block % FINEST.block == 0 for level in LEVELS)
