"""Bets on a difference of shares: exact expectations, their kinship to the two-arm test, and continuous looks."""

from __future__ import annotations

import random
from math import comb, exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.differences import Cut, gain_increase, log_e_increase, log_e_shift, log_e_within
from crossfade.stats.sequential import SplitCounts, bound, gain_worse, log_e_worse


def binomial(n: int, p: float) -> list[float]:
    return [comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)]


def expectation(e, share: float, p_here: float, p_rest: float, n: int) -> float:
    """Exact mean of e(cut) over n requests with four ends each."""
    total = 0.0
    for n_here, arms in enumerate(binomial(n, share)):
        for x, here in enumerate(binomial(n_here, p_here)):
            for y, rest in enumerate(binomial(n - n_here, p_rest)):
                total += arms * here * rest * e(Cut(share, x, n_here - x, y, n - n_here - y))
    return total


def increase(margin: float):
    def e(cut: Cut) -> float:
        n, rest_n = cut.here + cut.here_not, cut.rest + cut.rest_not
        return exp(log_e_increase([SplitCounts(cut.share, cut.here, cut.rest, n, rest_n)], margin))

    return e


@pytest.mark.parametrize("p_rest", [0.0, 0.02, 0.4])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_the_increase_is_expected_to_be_one_at_its_margin_whatever_the_base_rate(share, p_rest, margin):
    assert expectation(increase(margin), share, p_rest + margin, p_rest, 9) == pytest.approx(1, abs=1e-9)


def test_the_increase_is_expected_to_fall_below_its_margin():
    assert expectation(increase(0.1), 0.3, 0.15, 0.1, 9) < 1


def within(margin: float):
    def e(cut: Cut) -> float:
        n, rest_n = cut.here + cut.here_not, cut.rest + cut.rest_not
        return exp(log_e_within([SplitCounts(cut.share, cut.here, cut.rest, n, rest_n)], margin))

    return e


@pytest.mark.parametrize("p_rest", [0.0, 0.02, 0.4])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_keeping_a_margin_is_expected_to_be_one_where_it_is_just_not_kept(share, p_rest):
    assert expectation(within(0.1), share, p_rest + 0.1, p_rest, 9) == pytest.approx(1, abs=1e-9)
    assert expectation(within(0.1), share, p_rest + 0.2, p_rest, 9) < 1


def test_a_margin_is_proven_without_a_single_error_but_never_without_room():
    clean = [SplitCounts(0.25, 0, 0, 1500, 4500)]
    assert log_e_within(clean, 0.01) > bound(0.05)
    assert log_e_within(clean, 0.0) == 0
    assert log_e_within([SplitCounts(0.25, 60, 60, 1500, 4500)], 0.01) < 0
    assert log_e_within([SplitCounts(1.0, 0, 0, 1500, 0)], 0.01) == 0


@pytest.mark.parametrize(("centre", "p_rest"), [(0.5, 0.45), (0.1, 0.1), (0.9, 0.3)])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_shift_is_expected_to_be_one_at_its_margin_wherever_its_centre_is(share, centre, p_rest):
    def e(cut: Cut) -> float:
        return exp(log_e_shift(cut, centre, 0.1))

    assert expectation(e, share, p_rest + 0.1, p_rest, 9) == pytest.approx(1, abs=1e-9)
    assert expectation(e, share, p_rest, p_rest, 9) < 1


def test_a_base_rate_that_moves_changes_nothing():
    """Two requests of different worlds, one stratum: the product of means is the mean of products."""
    share, margin, total = 0.2, 0.05, 0.0
    for first in ends(share, 0.5, margin):
        for second in ends(share, 0.01, margin):
            counts = [a + b for a, b in zip(first[1], second[1], strict=True)]
            total += first[0] * second[0] * exp(log_e_increase([SplitCounts(share, *counts)], margin))
    assert total == pytest.approx(1, abs=1e-9)


def ends(share: float, base: float, margin: float):
    """(probability, (x, y, n, rest_n)) of one request."""
    worse = base + margin
    return (
        (share * worse, (1, 0, 1, 0)),
        (share * (1 - worse), (0, 0, 1, 0)),
        ((1 - share) * base, (0, 1, 0, 1)),
        ((1 - share) * (1 - base), (0, 0, 0, 1)),
    )


counts = st.integers(0, 200)
tosses = st.builds(
    lambda share, x, y, good, fine: SplitCounts(share, x, y, x + good, y + fine),
    st.sampled_from([0.01, 0.05, 0.25, 0.5]),
    counts,
    counts,
    counts,
    counts,
)


@given(st.lists(tosses, max_size=4))
def test_without_a_margin_it_is_the_two_arm_test(strata):
    assert log_e_increase(strata, 0.0) == pytest.approx(log_e_worse(strata, 1.0), abs=1e-6)


@given(st.lists(tosses, max_size=4), st.floats(0, 0.5))
def test_order_and_splitting_of_the_evidence_do_not_matter(strata, margin):
    halves = [
        t._replace(here=t.here // 2, rest=t.rest // 2, n=t.n // 2, rest_n=t.rest_n // 2) for t in strata
    ]
    others = [
        SplitCounts(t.share, *(a - b for a, b in zip(t[1:], half[1:], strict=True)))
        for t, half in zip(strata, halves, strict=True)
    ]
    whole = log_e_increase(strata, margin)
    assert log_e_increase([*reversed(others), *halves], margin) == pytest.approx(whole, abs=1e-6)


@given(tosses, st.floats(0, 0.4), st.floats(0, 0.1))
def test_evidence_falls_in_the_margin_and_rises_with_events_here(found, margin, more):
    assert log_e_increase([found], margin + more) <= log_e_increase([found], margin) + 1e-6
    worse = found._replace(here=found.here + 1, n=found.n + 1)
    better = found._replace(n=found.n + 1)
    assert log_e_increase([worse], margin) >= log_e_increase([better], margin) - 1e-9


def test_a_share_of_all_or_nothing_bets_nothing():
    assert log_e_increase(
        [SplitCounts(1.0, 50, 0, 50), SplitCounts(0.0, 0, 50, 0, 50)], 0.01
    ) == pytest.approx(0)
    assert gain_increase(1.0, 0.5, 0.1, 0.0) == 0


def test_the_growth_is_that_of_the_best_bet():
    """Without a margin nearly that of the best alternative, and never more; none inside the hypothesis."""
    best = gain_worse(0.05, 0.05, 0.01, 1.0)
    assert 0.99 * best < gain_increase(0.05, 0.05, 0.01, 0.0) <= best
    assert gain_increase(0.05, 0.02, 0.01, 0.01) == pytest.approx(0, abs=1e-9)
    many = [
        SplitCounts(0.2, 2000, 800, 20_000, 80_000)
    ]  # log E is the growth times the requests, less the mixing
    assert log_e_increase(many, 0.02) == pytest.approx(20_000 * gain_increase(0.2, 0.1, 0.01, 0.02), abs=4)


def rejects_ever(rng: random.Random, share: float, p_here: float, p_rest: float, looks: int) -> bool:
    """A continuous look with margin 1 % at α = 5 %, in steps of 100 requests."""
    here = rest = n_here = 0
    for look in range(1, looks + 1):
        for _ in range(100):
            on = rng.random() < share
            event = rng.random() < (p_here if on else p_rest)
            n_here += on
            here += on and event
            rest += (not on) and event
        if log_e_increase([SplitCounts(share, here, rest, n_here, 100 * look - n_here)], 0.01) >= bound(0.05):
            return True
    return False


def test_it_keeps_its_level_under_continuous_looking_and_finds_real_increases():
    rng = random.Random(7)
    false = sum(rejects_ever(rng, 0.2, 0.03, 0.02, 25) for _ in range(120))
    found = sum(rejects_ever(rng, 0.2, 0.12, 0.02, 25) for _ in range(20))
    assert false <= 0.05 * 120 + 4  # 3 standard errors above the level would be 13
    assert found == 20


def test_wald_bound_of_an_increase():
    """1 → 5 % at a weight of 5 %, where 0.5 points are allowed: about 4 thousand requests in all."""
    assert log(100) / gain_increase(0.05, 0.05, 0.01, 0.005) / 0.05 == pytest.approx(4_000, rel=0.1)
