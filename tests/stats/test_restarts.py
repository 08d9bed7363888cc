"""Restarts against their definition; under the null hypothesis the expectation of E is 1."""

from __future__ import annotations

from itertools import product
from math import comb, exp, log, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.restarts import (
    SLOTS,
    is_mark_due,
    log_e_above_restarted,
    log_e_increase_restarted,
    log_e_worse_restarted,
)
from crossfade.stats.sequential import (
    SplitCounts,
    bound,
    log_e_above,
    log_e_worse,
)

split_counts = st.builds(
    lambda share, here, rest, good: SplitCounts(share, here, rest, here + good),
    st.sampled_from([0.05, 0.3]),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 200),
)


def plus(a: SplitCounts, b: SplitCounts) -> SplitCounts:
    return SplitCounts(a.share, a.here + b.here, a.rest + b.rest, a.n + b.n, a.rest_n + b.rest_n)


def by_definition(start: float, late: list[float]) -> float:
    return log((exp(start) + (sum(map(exp, late)) + SLOTS - len(late)) / SLOTS) / 2)


@given(
    before=split_counts, parts=st.lists(split_counts, min_size=1, max_size=4), d0=st.sampled_from([1.0, 1.25])
)
def test_restarted_values_equal_their_definition(before, parts, d0):
    """The last stratum has a mark after each part but the last; the first stratum has none."""
    share = before.share
    parts = [part._replace(share=share) for part in parts]
    marks, now = [], SplitCounts(share, 0, 0, 0)
    for part in parts:
        now = plus(now, part)
        marks.append(now)
    since = [SplitCounts(share, now.here - m.here, now.rest - m.rest, now.n - m.n) for m in marks[:-1]]
    worse = log_e_worse_restarted([before, now], d0, [(), tuple(marks[:-1])])
    late = [log_e_worse([s], d0) for s in since]
    assert worse == pytest.approx(by_definition(log_e_worse([before, now], d0), late), abs=1e-7)
    above = log_e_above_restarted([before, now], 0.02, [(), tuple(marks[:-1])])
    whole = log_e_above(before.here + now.here, before.n + now.n, 0.02)
    late = [log_e_above(s.here, s.n, 0.02) for s in since]
    assert above == pytest.approx(by_definition(whole, late), abs=1e-7)


@given(first=split_counts, more=split_counts, second=split_counts, d0=st.sampled_from([1.0, 1.25]))
def test_a_test_that_began_in_one_stratum_continues_in_the_next(first, more, second, d0):
    more = more._replace(share=first.share)
    worse = log_e_worse_restarted([plus(first, more), second], d0, [(first,), ()])
    whole = log_e_worse([plus(first, more), second], d0)
    assert worse == pytest.approx(by_definition(whole, [log_e_worse([more, second], d0)]), abs=1e-7)


def test_the_expectation_is_one_over_strata_that_each_have_a_mark():
    """Otherwise each new stratum, as another rollout of the route makes them, would add wealth."""
    shares, size, total = (0.3, 0.1), 4, 0.0
    parts = [[(x, comb(size, x) * s**x * (1 - s) ** (size - x)) for x in range(size + 1)] for s in shares]
    for (a, p), (b, q), (c, r), (d, s) in product(parts[0], parts[0], parts[1], parts[1]):
        strata = [
            SplitCounts(shares[0], a + b, 2 * size - a - b),
            SplitCounts(shares[1], c + d, 2 * size - c - d),
        ]
        marks = [(SplitCounts(shares[0], a, size - a),), (SplitCounts(shares[1], c, size - c),)]
        total += p * q * r * s * exp(log_e_worse_restarted(strata, 1.0, marks))
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("share", "d0"), [(0.05, 1.0), (0.3, 1.25)])
def test_the_expectation_is_one_at_the_boundary(share, d0):
    """Two parts of seven events, a mark between; summed exactly over all outcomes."""
    pi, size, total = share * d0 / (share * d0 + 1 - share), 7, 0.0
    weights = [comb(size, x) * pi**x * (1 - pi) ** (size - x) for x in range(size + 1)]
    for x, p in enumerate(weights):
        mark = SplitCounts(share, x, size - x)
        for y, q in enumerate(weights):
            now = SplitCounts(share, x + y, 2 * size - x - y)
            total += p * q * exp(log_e_worse_restarted([now], d0, [(mark,)]))
    assert total == pytest.approx(1, abs=1e-9)


def test_the_expectation_of_the_one_sample_test_is_one_at_the_boundary():
    p0, size, total = 0.1, 9, 0.0
    weights = [comb(size, x) * p0**x * (1 - p0) ** (size - x) for x in range(size + 1)]
    for x, p in enumerate(weights):
        for y, q in enumerate(weights):
            now, mark = SplitCounts(0.0, x + y, 0, 2 * size), SplitCounts(0.0, x, 0, size)
            total += p * q * exp(log_e_above_restarted([now], p0, [(mark,)]))
    assert total == pytest.approx(1, abs=1e-9)


def test_without_events_there_is_no_evidence():
    assert log_e_worse_restarted([], 1.0, []) == pytest.approx(0)
    assert log_e_above_restarted([], 0.01, []) == pytest.approx(0)
    assert log_e_increase_restarted([SplitCounts(0.1, 0, 0, 0)], 0.01, [()]) == pytest.approx(0)


def test_the_expectation_of_the_increase_is_one_at_its_margin():
    share, p_rest, margin, total = 0.3, 0.1, 0.2, 0.0
    outcomes = (
        (share * (p_rest + margin), SplitCounts(share, 1, 0, 1, 0)),
        (share * (1 - p_rest - margin), SplitCounts(share, 0, 0, 1, 0)),
        ((1 - share) * p_rest, SplitCounts(share, 0, 1, 0, 1)),
        ((1 - share) * (1 - p_rest), SplitCounts(share, 0, 0, 0, 1)),
    )
    for path in product(outcomes, repeat=4):
        mark = plus(path[0][1], path[1][1])
        now = plus(plus(mark, path[2][1]), path[3][1])
        total += prod(p for p, _ in path) * exp(log_e_increase_restarted([now], margin, [(mark,)]))
    assert total == pytest.approx(1, abs=1e-9)


def test_a_late_change_is_found_sooner_with_restarts():
    mark = SplitCounts(0.05, 25, 675, 2500)
    now = SplitCounts(0.05, 25 + 14, 675 + 20, 2500 + 300)
    assert log_e_worse([now], 1.0) < bound(0.01) < log_e_worse_restarted([now], 1.0, [(mark,)])


def test_gaps_between_marks_grow_and_marks_end_after_a_million_trials():
    assert [is_mark_due(n, 0, 0) for n in (24, 25)] == [False, True]
    assert [is_mark_due(n, 1000, 5) for n in (1099, 1100)] == [False, True]
    assert not is_mark_due(10**9, 1000, SLOTS)
    trials = used = last = 0
    while used < SLOTS:
        trials += 1
        if is_mark_due(trials, last, used):
            last, used = trials, used + 1
    assert trials > 1_000_000


@given(split_counts, st.integers(0, SLOTS))
def test_the_wealth_of_marks_that_were_given_up_is_lost(counts, spent):
    found = log_e_worse_restarted([counts], 1.0, [()], spent)
    left = (exp(log_e_worse([counts], 1.0)) + (SLOTS - spent) / SLOTS) / 2
    assert found == pytest.approx(log(left))
