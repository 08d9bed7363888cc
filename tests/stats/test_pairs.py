"""Mirrored pairs: exact expectations with noise of the champion, and the direction in which decisions change."""

from __future__ import annotations

from itertools import product
from math import exp, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.pairs import Pairs, gain_excess, log_e_direction, log_e_excess
from crossfade.stats.sequential import bound

rows = st.tuples(
    st.booleans(), st.sampled_from([None, True, False]), st.just(0.25), st.sampled_from([None, True, False])
)


def pairs_of(rows) -> Pairs:
    out = Pairs()
    for row in rows:
        out.add(*row)
    return out


@given(st.lists(rows, max_size=12), st.lists(rows, max_size=12))
def test_merged_pairs_equal_those_of_all_rows(a, b):
    merged = pairs_of(a)
    merged.merge(pairs_of(b))
    assert merged == pairs_of(a + b)


def test_each_field_counts_its_rows():
    found = pairs_of([(True, True, 0.5, None), (True, False, 0.5, True), (False, True, 0.5, False)])
    assert found == Pairs(n=3, changed=2, raised=1, chances=1.5, twice=2, noise=1, both=1, lowered=1)
    assert found.chance == 0.5


def expectation(p: float, noise: float, margin: float, chance: float, size: int, together: float) -> float:
    """Exact mean over `size` pairs; `together`: dependence of a changed decision and noise, from 0 (independent) to 1."""
    both = together * min(p, noise) + (1 - together) * p * noise
    outcomes = [
        (chance * both, (True, False, chance, True)),
        (chance * (p - both), (True, False, chance, False)),
        (chance * (noise - both), (False, False, chance, True)),
        (chance * (1 - p - noise + both), (False, False, chance, False)),
        ((1 - chance) * p, (True, False, chance, None)),
        ((1 - chance) * (1 - p), (False, False, chance, None)),
    ]
    return sum(
        prod(q for q, _ in path) * exp(log_e_excess(pairs_of(row for _, row in path), margin))
        for path in product(outcomes, repeat=size)
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("chance", [0.05, 1.0])
@pytest.mark.parametrize("together", [0.0, 1.0])
def test_the_expectation_is_one_at_the_margin_for_any_noise(noise, chance, together):
    assert expectation(noise + 0.1, noise, 0.1, chance, 4, together) == pytest.approx(1, abs=1e-9)


def test_the_expectation_is_below_one_below_the_margin():
    assert expectation(0.3, 0.3, 0.1, 0.5, 4, 0.0) < 1


def test_without_second_answers_of_the_champion_there_is_no_evidence():
    assert log_e_excess(Pairs(n=1000, changed=1000), 0.05) == 0
    assert gain_excess(Pairs(n=1000, changed=1000), 0.05) == 0
    assert gain_excess(Pairs(), 0.05) == 0


def test_changed_decisions_are_found_beside_a_consistent_champion_but_not_beside_a_noisy_one():
    consistent = Pairs(n=2000, changed=500, chances=100, twice=95, noise=0)
    assert log_e_excess(consistent, 0.05) > bound(0.001)
    noisy = Pairs(n=2000, changed=500, chances=100, twice=95, noise=24, both=6)
    assert log_e_excess(noisy, 0.05) < bound(0.001)


def test_log_e_excess_grows_as_gain_excess_says():
    some, more = (Pairs(n=k, changed=k // 4, chances=k / 20, twice=k // 20) for k in (20_000, 40_000))
    growth = log_e_excess(more, 0.05) - log_e_excess(some, 0.05)
    assert growth == pytest.approx(20_000 * gain_excess(some, 0.05), rel=1e-3)


def test_log_e_direction_is_two_sided_and_rejects_only_beyond_chance():
    assert log_e_direction(Pairs(n=1000, changed=60, raised=30, lowered=30)) < 0
    assert log_e_direction(Pairs(n=1000, changed=60)) == 0  # labels, which are neither yes nor no
    up, down = (log_e_direction(Pairs(n=1000, changed=60, raised=x, lowered=60 - x)) for x in (55, 5))
    assert up == pytest.approx(down)
    assert up > bound(0.001)
