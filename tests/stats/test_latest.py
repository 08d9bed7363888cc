"""How much the latest part of the evidence speaks against the challenger."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.differences import log_e_increase
from crossfade.stats.latest import log_e_above_latest, log_e_increase_latest, log_e_worse_latest
from crossfade.stats.restarts import Marks
from crossfade.stats.sequential import SplitCounts, log_e_above, log_e_worse

PARTS = st.tuples(st.integers(0, 9), st.integers(0, 40), st.integers(0, 90), st.integers(0, 400)).map(
    lambda p: (min(p[0], p[2]), min(p[1], p[3]), p[2], p[3])
)
STRATA = st.lists(st.lists(PARTS, min_size=1, max_size=5), min_size=1, max_size=3)
SHARE = 0.2


def summed(parts: list[tuple[int, int, int, int]]) -> SplitCounts:
    return SplitCounts(SHARE, *(sum(column) for column in zip(*parts, strict=True)))


def at_marks(strata: list[list[tuple[int, int, int, int]]]) -> tuple[list[SplitCounts], list[Marks]]:
    """The counts of each stratum now, and at marks between its parts."""
    marks = [tuple(summed(parts[:i]) for i in range(1, len(parts))) for parts in strata]
    return [summed(parts) for parts in strata], marks


@given(STRATA)
def test_it_is_at_least_the_evidence_of_the_part_since_any_mark(strata):
    counts, marks = at_marks(strata)
    found = {
        "worse": log_e_worse_latest(counts, 1.0, marks),
        "above": log_e_above_latest(counts, 0.02, marks),
        "increase": log_e_increase_latest(counts, 0.01, marks),
    }
    for i, parts in enumerate(strata):
        for k in range(len(parts)):
            if i == k == 0:
                continue  # all of the evidence is no late part
            since = [summed(parts[k:]), *counts[i + 1 :]]
            x, n = sum(c.here for c in since), sum(c.n for c in since)
            assert found["worse"] >= log_e_worse(since, 1.0) - 1e-9
            assert found["above"] >= log_e_above(x, n, 0.02) - 1e-9
            assert found["increase"] >= log_e_increase(since, 0.01) - 1e-9


def test_one_mark_gives_the_evidence_since_that_mark():
    before, after = (3, 40, 300, 1200), (9, 4, 60, 240)
    counts, marks = at_marks([[before, after]])
    assert log_e_worse_latest(counts, 1.0, marks) == pytest.approx(log_e_worse([summed([after])], 1.0))
    assert log_e_above_latest(counts, 0.02, marks) == pytest.approx(log_e_above(9, 60, 0.02))
    assert log_e_increase_latest(counts, 0.01, marks) == pytest.approx(
        log_e_increase([summed([after])], 0.01)
    )


def test_without_a_mark_there_is_no_late_part():
    counts, marks = at_marks([[(50, 0, 60, 240)]])
    assert log_e_worse_latest(counts, 1.0, marks) == -inf
    assert log_e_worse_latest([], 1.0, []) == -inf
