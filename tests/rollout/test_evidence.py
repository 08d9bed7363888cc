"""Counts belong to the stratum of their ledger version, and thresholds are fixed before they are used."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout import evidence as rollout_evidence
from crossfade.rollout.evidence import (
    MIN_FOR_QUANTILE,
    Evidence,
    fix_limits,
    marked_counts,
    requests_not_abandoned,
    split_counts,
    sum_cells,
)
from crossfade.rollout.limits import Limit, limit_of
from crossfade.rollout.strata import EventCount
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


def test_late_outcomes_count_in_the_stratum_of_their_assignment():
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
def test_counts_do_not_depend_on_how_they_are_divided_into_ticks(counted, cut):
    whole, parts = two_steps(), two_steps()
    gather(whole, counted, ())
    gather(parts, counted[:cut], ())
    gather(parts, counted[cut:], ())
    assert [(s.champion.requests, s.challenger.errors) for s in whole.strata] == [
        (s.champion.requests, s.challenger.errors) for s in parts.strata
    ]
    assert whole.baseline.buckets == parts.baseline.buckets


def test_mirrored_copies_count_for_a_shadow_but_not_for_a_live_challenger():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.0)
    made.open("r", 3, 1, 0.1)
    for version in (2, 3):
        gather(made, [cell("v3", 5, version=version, role="shadow"), cell("v3", 7, version=version)], ())
        gather(made, [cell("v2", 5, version=version, role="shadow")], ())
    assert [s.challenger.requests for s in made.strata] == [5, 7]
    assert made.baseline.count == 0


def test_a_threshold_depends_on_earlier_ticks_only():
    made = two_steps()
    first = cell("v2", MIN_FOR_QUANTILE, times=[0.1] * MIN_FOR_QUANTILE)
    gather(made, [first, cell("v3", 10, times=[9.0] * 10)], (RATIO,))
    assert split_counts(made.strata, RATIO.title) == []  # there was no threshold when these came

    slow = [0.1] * 8 + [0.16] * 2
    gather(made, [cell("v2", 10, times=slow), cell("v3", 10, times=slow)], (RATIO,))
    # the champion's p90 was 100 ms: two are above it, and two above 1.5 times it
    assert split_counts(made.strata, RATIO.title) == [SplitCounts(0.1, 2, 2, 10, 10)]


def test_thresholds_are_fixed_again_when_the_champion_has_twice_as_many_answers():
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
    assert set(made.limits) == {limit.title}  # the other check was removed
    fix_limits(made, (RATIO,))
    assert made.limits == {RATIO.title: limit_of(made.baseline, RATIO)}  # and added again, without a delay


@pytest.mark.parametrize("ratio", [1.0, 1.02, 1.1, 1.5, 2.0])
def test_the_threshold_of_the_challenger_is_the_ratio_rounded_up_by_at_most_one_bucket(ratio):
    baseline = cell("v2", MIN_FOR_QUANTILE).duration
    ours, theirs = limit_of(baseline, check("latency", quantile="p90", max_ratio=ratio))
    assert ratio * theirs * 0.9999 <= ours <= ratio * theirs * GAMMA * 1.0001


def test_a_request_that_waits_too_long_counts_once_as_a_request_and_as_an_event():
    limit = check("latency", quantile="p90", max="50ms")
    made = evidence(checks=(limit,))
    waiting, ended = cell("v3", 0), cell("v3", 2, times=[0.1, 0.02])
    waiting.events[limit.title] = Events(unkeyed=3, early=3)
    rollout_evidence.gather(made, [waiting], (limit,))
    assert made.strata[0].events[limit.title].challenger == EventCount(3, 3, 3)
    ended.events[limit.title] = Events(early=-1)  # one of the three waiting requests; the other was fast
    rollout_evidence.gather(made, [ended], (limit,))
    assert made.strata[0].events[limit.title].challenger == EventCount(3, 3, 4)


def test_comparisons_use_the_strata_of_the_step_or_of_the_latest_step_that_has_both_sides():
    made = two_steps()
    assert [s.version for s in made.comparable(1)] == [3]
    made.open("r", 4, 2, 1.0)
    assert [s.version for s in made.comparable(2)] == [3]
    assert Evidence("v2", "v3").comparable(0) == []
    assert [s.version for s in made.of_step(2)] == [4]


def test_encoded_evidence_decodes_to_equal_evidence():
    made = two_steps()
    gather(made, [cell("v2", MIN_FOR_QUANTILE)], (RATIO,))
    gather(made, [cell("v2", 20, 1), cell("v3", 20, 2)], (RATIO,))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Evidence) == made


def test_sum_cells_does_not_change_its_cells_and_abandoned_requests_do_not_count():
    one, two = cell("v3", 5), cell("v3", 6, 2)
    two.abandoned = 4
    assert (sum_cells([one, two]).requests, one.requests, sum_cells([]).requests) == (11, 5, 0)
    assert requests_not_abandoned(two) == 2


def test_a_stratum_is_marked_from_time_to_time_and_the_marks_are_encoded():
    limit = check("latency", quantile="p90", max="50ms")
    made = evidence(checks=(limit,))
    for _ in range(4):
        times = [0.1] * 4 + [0.02] * 16
        gather(made, [cell("v3", 20, 2, times=times), cell("v2", 80, 3)], (limit,))
    (stratum,) = made.strata
    assert [m.n for m in stratum.marks] == [40, 80]  # whole ticks, both sides
    assert marked_counts(made.strata, ERROR) == [
        (SplitCounts(0.1, 4, 6, 40, 160), SplitCounts(0.1, 8, 12, 80, 320))
    ]
    assert marked_counts(made.strata, limit.title) == [
        (SplitCounts(0.1, 8, 0, 40, 160), SplitCounts(0.1, 16, 0, 80, 320))
    ]
    assert marked_counts(made.strata, "a check that is new") == []
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Evidence) == made


def test_marks_of_a_ratio_check_keep_their_counts():
    ratio = check("latency", quantile="p90", max_ratio=1.5)
    made = evidence(cell("v2", MIN_FOR_QUANTILE), checks=(ratio,))
    for _ in range(2):
        gather(made, [cell("v3", 30, times=[0.1] * 30), cell("v2", 80)], (ratio,))
    ((first, second),) = marked_counts(made.strata, ratio.title)
    assert (first, second) == (SplitCounts(0.1, 30, 0, 30, 80), SplitCounts(0.1, 60, 0, 60, 160))
