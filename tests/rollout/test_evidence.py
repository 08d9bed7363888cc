"""Counts fall into the stratum of their ledger version, and thresholds are fixed before they are used."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout import evidence as real
from crossfade.rollout.evidence import (
    MIN_FOR_QUANTILE,
    Evidence,
    Limit,
    Side,
    fix_limits,
    limit_of,
    marked_counts,
    requests_not_abandoned,
    split_counts,
    sum_cells,
)
from crossfade.stats.counts import ERROR, Events
from crossfade.stats.histogram import GAMMA
from crossfade.stats.sequential import SplitCounts

from .counting import cell, check, evidence, gather

RATIO = check("latency", quantile="p90", max_ratio=1.5)


def two_steps() -> Evidence:
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    made.open("r", 3, 1, 0.5)
    return made


def test_late_outcomes_count_in_the_stratum_they_were_assigned_under():
    made = two_steps()
    gather(
        made, [cell("v3", 10, 1, version=3), cell("v3", 5, 2, version=2), cell("v2", 90, 3, version=2)], ()
    )
    gather(
        made, [cell("v3", 7, 1, version=2), cell("v1", 50, 50, version=2), cell("v3", 9, 9, version=1)], ()
    )
    assert split_counts(made.strata, ERROR) == [SplitCounts(0.1, 3, 3, 12, 90), SplitCounts(0.5, 1, 0, 10)]
    assert [s.challenger.requests for s in made.strata] == [12, 10]


cells = st.builds(
    cell, st.sampled_from(["v2", "v3"]), st.integers(1, 30), st.integers(0, 1), st.integers(1, 4)
)


@given(st.lists(cells, max_size=12), st.integers(0, 12))
def test_one_tick_or_many_the_counts_are_the_same(counted, cut):
    whole, parts = two_steps(), two_steps()
    gather(whole, counted, ())
    gather(parts, counted[:cut], ())
    gather(parts, counted[cut:], ())
    assert [(s.champion.requests, s.challenger.errors) for s in whole.strata] == [
        (s.champion.requests, s.challenger.errors) for s in parts.strata
    ]
    assert whole.baseline.buckets == parts.baseline.buckets


def test_a_shadow_is_known_by_its_mirrored_copies_and_a_live_challenger_is_not():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.0)
    made.open("r", 3, 1, 0.1)
    for version in (2, 3):
        gather(made, [cell("v3", 5, version=version, role="shadow"), cell("v3", 7, version=version)], ())
        gather(made, [cell("v2", 5, version=version, role="shadow")], ())
    assert [s.challenger.requests for s in made.strata] == [5, 7]
    assert made.baseline.count == 0


def test_a_threshold_comes_from_what_was_known_before_the_tick():
    made = two_steps()
    first = cell("v2", MIN_FOR_QUANTILE, times=[0.1] * MIN_FOR_QUANTILE)
    gather(made, [first, cell("v3", 10, times=[9.0] * 10)], (RATIO,))
    assert split_counts(made.strata, RATIO.title) == []  # nothing was known when these came

    slow = [0.1] * 8 + [0.16] * 2
    gather(made, [cell("v2", 10, times=slow), cell("v3", 10, times=slow)], (RATIO,))
    # the champion's p90 was 100 ms: two are above it, and two above 1.5 times it
    assert split_counts(made.strata, RATIO.title) == [SplitCounts(0.1, 2, 2, 10, 10)]


def test_thresholds_are_fixed_anew_when_the_champion_has_answered_twice_as_often():
    limit, made = check("latency", quantile="p99", max="80ms"), Evidence("v2", "v3")
    seen = []
    for n, seconds in (
        (MIN_FOR_QUANTILE - 1, 0.01),
        (1, 0.02),
        (MIN_FOR_QUANTILE - 1, 0.05),
        (1, 0.05),
        (1, 0.05),
    ):
        gather(made, [cell("v2", n, times=[seconds] * n)], (RATIO, limit))
        assert made.limits.pop(limit.title) == Limit(0.08, 0.08)
        seen.append(made.limits.get(RATIO.title))
    assert seen[0] is None
    assert (
        seen[1]
        == seen[2]
        == limit_of(cell("v2", MIN_FOR_QUANTILE, times=[0.01] * MIN_FOR_QUANTILE).duration, RATIO)
    )
    assert seen[3] == seen[4] == limit_of(cell("v2", 1, times=[0.05]).duration, RATIO)
    fix_limits(made, (limit,))
    assert set(made.limits) == {limit.title}  # the other was taken out
    fix_limits(made, (RATIO,))
    assert made.limits == {RATIO.title: limit_of(made.baseline, RATIO)}  # and put back: there is no waiting


@pytest.mark.parametrize("ratio", [1.0, 1.02, 1.1, 1.5, 2.0])
def test_the_challenger_s_threshold_is_at_least_the_ratio_and_at_most_a_bucket_above(ratio):
    baseline = cell("v2", MIN_FOR_QUANTILE).duration
    ours, theirs = limit_of(baseline, check("latency", quantile="p90", max_ratio=ratio))
    assert ratio * theirs * 0.9999 <= ours <= ratio * theirs * GAMMA * 1.0001


def test_who_waits_for_too_long_counts_among_the_requests_and_once():
    limit = check("latency", quantile="p90", max="50ms")
    made = evidence(checks=(limit,))
    waiting, ended = cell("v3", 0), cell("v3", 2, times=[0.1, 0.02])
    waiting.events[limit.title] = Events(unkeyed=3, early=3)
    real.gather(made, [waiting], (limit,))
    assert made.strata[0].met[limit.title].challenger == Side(3, 3, 3)
    ended.events[limit.title] = Events(early=-1)  # one of the three; the other is quick
    real.gather(made, [ended], (limit,))
    assert made.strata[0].met[limit.title].challenger == Side(3, 3, 4)


def test_comparisons_use_the_step_s_strata_or_else_those_of_the_last_that_compared():
    made = two_steps()
    assert [s.version for s in made.comparable(1)] == [3]
    made.open("r", 4, 2, 1.0)
    assert [s.version for s in made.comparable(2)] == [3]
    assert Evidence("v2", "v3").comparable(0) == []
    assert [s.version for s in made.of_step(2)] == [4]


def test_evidence_survives_being_written_down():
    made = two_steps()
    gather(made, [cell("v2", MIN_FOR_QUANTILE)], (RATIO,))
    gather(made, [cell("v2", 20, 1), cell("v3", 20, 2)], (RATIO,))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Evidence) == made


def test_sums_leave_their_parts_alone_and_clients_that_left_say_nothing():
    one, two = cell("v3", 5), cell("v3", 6, 2)
    two.abandoned = 4
    assert (sum_cells([one, two]).requests, one.requests, sum_cells([]).requests) == (11, 5, 0)
    assert requests_not_abandoned(two) == 2


def test_a_stratum_is_marked_now_and_then_and_the_marks_are_saved_with_it():
    limit = check("latency", quantile="p90", max="50ms")
    made = evidence(checks=(limit,))
    for _ in range(4):
        times = [0.1] * 4 + [0.02] * 16
        gather(made, [cell("v3", 20, 2, times=times), cell("v2", 80, 3)], (limit,))
    (stratum,) = made.strata
    assert [m.n for m in stratum.marks] == [40, 80]  # the tick as a whole, on both sides
    assert marked_counts(made.strata, ERROR) == [
        (SplitCounts(0.1, 4, 6, 40, 160), SplitCounts(0.1, 8, 12, 80, 320))
    ]
    assert marked_counts(made.strata, limit.title) == [
        (SplitCounts(0.1, 8, 0, 40, 160), SplitCounts(0.1, 16, 0, 80, 320))
    ]
    assert marked_counts(made.strata, "a check that is new") == []
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Evidence) == made


def test_marks_of_a_ratio_stay_as_they_were():
    ratio = check("latency", quantile="p90", max_ratio=1.5)
    made = evidence(cell("v2", MIN_FOR_QUANTILE), checks=(ratio,))
    for _ in range(2):
        gather(made, [cell("v3", 30, times=[0.1] * 30), cell("v2", 80)], (ratio,))
    ((first, second),) = marked_counts(made.strata, ratio.title)
    assert (first, second) == (SplitCounts(0.1, 30, 0, 30, 80), SplitCounts(0.1, 60, 0, 60, 160))
