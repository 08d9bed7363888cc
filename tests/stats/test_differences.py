"""E-processes of a difference of shares: exact expectations, equality with the two-sample test, and continuous looks."""

from __future__ import annotations

import random
from math import comb, exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.differences import Cut, gain_increase, log_e_increase, log_e_within, shift_logs
from crossfade.stats.sequential import SplitCounts, bound, gain_worse, log_e_worse, log_mean_exp


def binomial(n: int, p: float) -> list[float]:
    return [comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)]


def expectation(e, share: float, p_here: float, p_rest: float, n: int) -> float:
    """Exact mean of e(cut) over n requests with four possible outcomes each."""
    total = 0.0
    for n_here, split in enumerate(binomial(n, share)):
        for x, here in enumerate(binomial(n_here, p_here)):
            for y, rest in enumerate(binomial(n - n_here, p_rest)):
                total += split * here * rest * e(Cut(share, x, n_here - x, y, n - n_here - y))
    return total


def increase(margin: float):
    def e(cut: Cut) -> float:
        n, rest_n = cut.here + cut.here_not, cut.rest + cut.rest_not
        return exp(log_e_increase([SplitCounts(cut.share, cut.here, cut.rest, n, rest_n)], margin))

    return e


@pytest.mark.parametrize("p_rest", [0.0, 0.02, 0.4])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_log_e_increase_has_expectation_one_at_its_margin_for_any_base_rate(share, p_rest, margin):
    assert expectation(increase(margin), share, p_rest + margin, p_rest, 9) == pytest.approx(1, abs=1e-9)


def test_log_e_increase_has_expectation_below_one_below_its_margin():
    assert expectation(increase(0.1), 0.3, 0.15, 0.1, 9) < 1


def within(margin: float):
    def e(cut: Cut) -> float:
        n, rest_n = cut.here + cut.here_not, cut.rest + cut.rest_not
        return exp(log_e_within([SplitCounts(cut.share, cut.here, cut.rest, n, rest_n)], margin))

    return e


@pytest.mark.parametrize("p_rest", [0.0, 0.02, 0.4])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_log_e_within_has_expectation_one_at_its_margin_and_less_above(share, p_rest):
    assert expectation(within(0.1), share, p_rest + 0.1, p_rest, 9) == pytest.approx(1, abs=1e-9)
    assert expectation(within(0.1), share, p_rest + 0.2, p_rest, 9) < 1


def test_a_margin_is_proven_without_any_event_but_a_margin_of_zero_never_is():
    no_events = [SplitCounts(0.25, 0, 0, 1500, 4500)]
    assert log_e_within(no_events, 0.01) > bound(0.05)
    assert log_e_within(no_events, 0.0) == 0
    assert log_e_within([SplitCounts(0.25, 60, 60, 1500, 4500)], 0.01) < 0
    assert log_e_within([SplitCounts(1.0, 0, 0, 1500, 0)], 0.01) == 0


@pytest.mark.parametrize(("centre", "p_rest"), [(0.5, 0.45), (0.1, 0.1), (0.9, 0.3)])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_shift_logs_have_expectation_one_at_their_margin_for_any_centre(share, centre, p_rest):
    def e(cut: Cut) -> float:
        return exp(log_mean_exp(shift_logs(cut, centre, 0.1)))

    assert expectation(e, share, p_rest + 0.1, p_rest, 9) == pytest.approx(1, abs=1e-9)
    assert expectation(e, share, p_rest, p_rest, 9) < 1


def test_a_changing_base_rate_does_not_change_the_expectation():
    """Two requests with different base rates in one stratum: the expectation is still one."""
    share, margin, total = 0.2, 0.05, 0.0
    for first in outcomes(share, 0.5, margin):
        for second in outcomes(share, 0.01, margin):
            counts = [a + b for a, b in zip(first[1], second[1], strict=True)]
            total += first[0] * second[0] * exp(log_e_increase([SplitCounts(share, *counts)], margin))
    assert total == pytest.approx(1, abs=1e-9)


def outcomes(share: float, base: float, margin: float):
    """(probability, (x, y, n, rest_n)) of one request."""
    worse = base + margin
    return (
        (share * worse, (1, 0, 1, 0)),
        (share * (1 - worse), (0, 0, 1, 0)),
        ((1 - share) * base, (0, 1, 0, 1)),
        ((1 - share) * (1 - base), (0, 0, 0, 1)),
    )


counts = st.integers(0, 200)
split_counts = st.builds(
    lambda share, x, y, good, rest_good: SplitCounts(share, x, y, x + good, y + rest_good),
    st.sampled_from([0.01, 0.05, 0.25, 0.5]),
    counts,
    counts,
    counts,
    counts,
)


@given(st.lists(split_counts, max_size=4))
def test_without_a_margin_log_e_increase_equals_the_two_sample_test(strata):
    assert log_e_increase(strata, 0.0) == pytest.approx(log_e_worse(strata, 1.0), abs=1e-6)


@given(st.lists(split_counts, max_size=4), st.floats(0, 0.5))
def test_order_and_grouping_of_the_counts_do_not_matter(strata, margin):
    halves = [
        t._replace(here=t.here // 2, rest=t.rest // 2, n=t.n // 2, rest_n=t.rest_n // 2) for t in strata
    ]
    others = [
        SplitCounts(t.share, *(a - b for a, b in zip(t[1:], half[1:], strict=True)))
        for t, half in zip(strata, halves, strict=True)
    ]
    whole = log_e_increase(strata, margin)
    assert log_e_increase([*reversed(others), *halves], margin) == pytest.approx(whole, abs=1e-6)


@given(split_counts, st.floats(0, 0.4), st.floats(0, 0.1))
def test_log_e_increase_falls_with_the_margin_and_rises_with_events_here(found, margin, more):
    assert log_e_increase([found], margin + more) <= log_e_increase([found], margin) + 1e-6
    worse = found._replace(here=found.here + 1, n=found.n + 1)
    better = found._replace(n=found.n + 1)
    assert log_e_increase([worse], margin) >= log_e_increase([better], margin) - 1e-9


def test_a_share_of_zero_or_one_gives_no_evidence():
    assert log_e_increase(
        [SplitCounts(1.0, 50, 0, 50), SplitCounts(0.0, 0, 50, 0, 50)], 0.01
    ) == pytest.approx(0)
    assert gain_increase(1.0, 0.5, 0.1, 0.0) == 0


def test_gain_increase_is_the_growth_of_the_best_stake():
    """Without a margin it is nearly the gain of the best alternative, never more; 0 inside the null hypothesis."""
    best = gain_worse(0.05, 0.05, 0.01, 1.0)
    assert 0.99 * best < gain_increase(0.05, 0.05, 0.01, 0.0) <= best
    assert gain_increase(0.05, 0.02, 0.01, 0.01) == pytest.approx(0, abs=1e-9)
    many = [
        SplitCounts(0.2, 2000, 800, 20_000, 80_000)
    ]  # log E is the growth times the requests, less the cost of the mixture
    assert log_e_increase(many, 0.02) == pytest.approx(20_000 * gain_increase(0.2, 0.1, 0.01, 0.02), abs=4)


def rejects_ever(rng: random.Random, share: float, p_here: float, p_rest: float, looks: int) -> bool:
    """Whether it ever rejects with margin 1 % at α = 5 %, with a look every 100 requests."""
    here = rest = n_here = 0
    for look in range(1, looks + 1):
        for _ in range(100):
            is_here = rng.random() < share
            event = rng.random() < (p_here if is_here else p_rest)
            n_here += is_here
            here += is_here and event
            rest += (not is_here) and event
        if log_e_increase([SplitCounts(share, here, rest, n_here, 100 * look - n_here)], 0.01) >= bound(0.05):
            return True
    return False


def test_log_e_increase_keeps_its_level_at_continuous_looks_and_finds_increases():
    rng = random.Random(7)
    false = sum(rejects_ever(rng, 0.2, 0.03, 0.02, 25) for _ in range(120))
    found = sum(rejects_ever(rng, 0.2, 0.12, 0.02, 25) for _ in range(20))
    assert false <= 0.05 * 120 + 4  # 3 standard errors above the level would be 13
    assert found == 20


def test_the_wald_bound_of_an_increase():
    """1 → 5 % at a weight of 5 %, with 0.5 points allowed: about 4000 requests on both sides together."""
    assert log(100) / gain_increase(0.05, 0.05, 0.01, 0.005) / 0.05 == pytest.approx(4_000, rel=0.1)
