"""Strata are merged, and the tests of the evidence stay what they were, or weaker."""

from __future__ import annotations

import random
from copy import deepcopy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.rollout.evidence import (
    Evidence,
    gather,
    marked_counts,
    requests_not_abandoned,
    side_totals,
    spent_marks,
    split_counts,
)
from crossfade.rollout.merging import MOST, NEWEST, NOT_COMPARED, SHARES, merge_old
from crossfade.rollout.strata import Stratum
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.differences import log_e_increase
from crossfade.stats.restarts import (
    SLOTS,
    log_e_above_restarted,
    log_e_increase_restarted,
    log_e_worse_restarted,
)
from crossfade.stats.sequential import log_e_worse
from tests.tries import tries


def with_counts(evidence: Evidence, version: int, here: tuple[int, int], rest: tuple[int, int]) -> None:
    """(Requests, errors) of each side, in one tick."""
    cells = [
        Cell("r", name, role, version, requests=n, errors=x, unkeyed=n, events={ERROR: Events(unkeyed=x)})
        for name, role, (n, x) in (("v3", "challenger", here), ("v2", "champion", rest))
    ]
    for cell in cells:
        cell.duration.add(0.05)
    gather(evidence, cells, ())


def counted(shares: list[float], seed: int) -> list[Stratum]:
    """One stratum for each share, with marks, not merged."""
    draw, evidence = random.Random(seed), Evidence("v2", "v3")
    for version, share in enumerate(shares, 1):
        evidence.strata.append(
            Stratum(version, 0, share, Cell("r", "v2", "", version), Cell("r", "v3", "", version))
        )
        for _ in range(draw.randint(1, 3)):
            n, m = draw.randint(20, 60), draw.randint(20, 60)
            with_counts(evidence, version, (n, draw.randint(0, 6)), (m, draw.randint(0, 4)))
    return evidence.strata


def log_es_from_the_start(strata: list[Stratum]) -> list[float]:
    counts = split_counts(strata, ERROR)
    return [log_e_worse(counts, 1.0), log_e_increase(counts, 0.01)]


def restarted_log_es(strata: list[Stratum]) -> list[float]:
    counts, marks, spent = split_counts(strata, ERROR), marked_counts(strata, ERROR), spent_marks(strata)
    return [
        log_e_worse_restarted(counts, 1.0, marks, spent),
        log_e_above_restarted(counts, 0.02, marks, spent),
        log_e_increase_restarted(counts, 0.01, marks, spent),
    ]


def test_a_few_strata_are_left_as_they_are():
    strata = counted([0.1, 0.2, 0.1] * 5, 1)
    assert merge_old(strata, ()) == strata


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_of_one_share_are_one_stratum_to_every_test(seed):
    strata = counted([0.1] * 9 + [0.2] * 7 + [0.1] * 4, seed)
    before = deepcopy(strata)
    merged = merge_old(strata, ())
    assert [s.share for s in merged] == [0.1, 0.2, 0.1, 0.1, 0.1, 0.1]
    assert log_es_from_the_start(merged) == pytest.approx(log_es_from_the_start(strata))
    assert restarted_log_es(merged) == pytest.approx(restarted_log_es(strata))
    assert (spent_marks(merged), sum(len(s.marks) for s in strata) > 10) == (0, True)
    assert strata == before  # others hold them


@settings(max_examples=tries(30))
@given(st.lists(st.sampled_from([0.05, 0.1, 0.2]), min_size=MOST, max_size=40), st.integers(0, 1000))
def test_merged_strata_give_no_more_evidence(shares, seed):
    """Law: the test from the start stays; wealth of marks is thrown away, and never won."""
    strata = counted(shares, seed)
    merged = merge_old(strata, ())
    assert log_es_from_the_start(merged) == pytest.approx(log_es_from_the_start(strata))
    for less, more in zip(restarted_log_es(merged), restarted_log_es(strata), strict=True):
        assert less <= more + 1e-9
    assert len(merged) <= MOST
    for ours, theirs in zip(side_totals(merged), side_totals(strata), strict=True):
        assert (ours.requests, ours.errors, ours.duration.buckets) == (
            theirs.requests,
            theirs.errors,
            theirs.duration.buckets,
        )
    used = [spent_marks(s) + sum(len(each.marks) for each in s) for s in (merged, strata)]
    assert used[0] == used[1] <= SLOTS


def test_what_a_new_check_counts_from_is_not_merged_with_what_was_before():
    strata = counted([0.1] * 30, 3)
    merged = merge_old(strata, {11})
    assert [s.version for s in merged] == [10, 27, 28, 29, 30]
    seen = Evidence("v2", "v3", strata=merged, since={}).strata[1:]
    assert side_totals(seen)[0].requests == side_totals(strata[10:])[0].requests


@pytest.mark.parametrize("kinds", [1, 3, 50])
def test_thousands_of_versions_have_a_bound(kinds):
    """As where another rollout of the route, or an operator, changes weights all the time."""
    draw, evidence = random.Random(kinds), Evidence("v2", "v3")
    total, sizes = 0, []
    for version in range(1, 3001):
        step = version // 1500
        evidence.open("r", version, step, draw.randint(1, kinds) / 100)
        with_counts(evidence, version, (10, 1), (90, 1))
        with_counts(evidence, version - 1, (1, 0), (0, 0))  # in flight from the version before
        total += 10 + (version > 1)
        if version % 500 == 499:
            sizes.append(len(msgspec.json.encode(evidence)))
    assert sum(requests_not_abandoned(s.challenger) for s in evidence.strata) == total
    for step in (0, 1):
        assert len(evidence.of_step(step)) <= MOST
        assert len({s.share for s in evidence.of_step(step) if s.compares}) <= SHARES
        assert (NOT_COMPARED in [s.share for s in evidence.of_step(step)]) == (kinds > SHARES)
    assert max(sizes) < 100_000
    assert [s.version for s in evidence.strata[-NEWEST:]] == [2998, 2999, 3000]


def test_an_evidence_that_is_opened_again_leaves_the_one_before_as_it_was():
    """A decision that cannot be written is not made; the evidence goes on without it."""
    evidence = Evidence("v2", "v3", strata=counted([0.1, 0.2] * 12, 4))
    before = deepcopy(evidence.strata)
    later = msgspec.structs.replace(evidence, strata=list(evidence.strata))
    later.open("r", 99, 0, 0.3)
    assert (evidence.strata, len(later.strata)) == (before, 6)
