"""Distributions of scores: reference values, exact expectations, and what each test takes for a difference."""

from __future__ import annotations

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.divergence import (
    SplitBins,
    _log_e_distance,
    ks_distance,
    log_e_band,
    log_e_differ,
    log_e_differ_robust,
    stability_index,
)

DECILES = tuple(i / 10 for i in range(1, 10))
ALIKE = (0.5, 0.3, 0.2)


@pytest.mark.parametrize(
    ("here", "known", "robust"),
    [
        ((1, 3, 6, 30), 20.094488, 12.860470),
        ((5, 5, 5, 5), -1.265640, None),
        ((10, 10, 10, 10), 1.623892, -5.610126),
    ],
)
def test_reference_values_of_the_beta_mixtures(here, known, robust):
    found = [SplitBins(0.05, here, (95,) * 4)]
    assert log_e_differ(found) == pytest.approx(known, abs=1e-6)
    if robust is not None:
        assert log_e_differ_robust(found) == pytest.approx(robust, abs=1e-6)


def expectation(test, share: float, here, rest, requests: int) -> float:
    """Exact mean of e over so many requests, each with a side and a bin; by counts, with their multiplicities."""
    chances = [share * p for p in here] + [(1 - share) * p for p in rest]
    found = {(0,) * len(chances): 1.0}
    for _ in range(requests):
        after: dict[tuple[int, ...], float] = {}
        for counts, p in found.items():
            for i, chance in enumerate(chances):
                grown = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
                after[grown] = after.get(grown, 0.0) + p * chance
        found = after
    bins = len(here)
    return sum(p * exp(test([SplitBins(share, counts[:bins], counts[bins:])])) for counts, p in found.items())


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_alike_is_no_evidence_of_any_difference(share):
    assert expectation(log_e_differ, share, ALIKE, ALIKE, 6) == pytest.approx(1, abs=1e-9)
    assert expectation(log_e_differ_robust, share, ALIKE, ALIKE, 6) <= 1


def test_a_missing_answer_here_and_there_is_no_difference_to_the_robust_one():
    """Half of the answers are missing on one side, which is another share and not another distribution."""
    assert expectation(log_e_differ, 0.5, ALIKE, ALIKE, 4) == pytest.approx(1, abs=1e-9)
    seen = [SplitBins(0.5, (250, 150, 100), (500, 300, 200))]
    assert log_e_differ(seen) > 3 > log_e_differ_robust(seen)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("here", [(0.6, 0.3, 0.1), (0.4, 0.3, 0.3), (0.5, 0.2, 0.3), ALIKE])
def test_a_distance_up_to_the_limit_is_no_evidence(share, here):
    def test(strata):
        return _log_e_distance(strata, (0.5, 0.8), 0.1)

    assert expectation(test, share, here, ALIKE, 6) <= 1 + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("here", [(0.4, 0.36, 0.24), (0.6, 0.25, 0.15), ALIKE])
def test_what_is_inside_the_band_is_no_evidence(share, here):
    assert expectation(lambda strata: log_e_band(strata, 1.25), share, here, ALIKE, 6) <= 1 + 1e-9


bins = st.lists(st.integers(0, 60), min_size=10, max_size=10)
strata = st.lists(st.builds(SplitBins, st.sampled_from([0.05, 0.5]), bins, bins), min_size=1, max_size=3)


@given(strata)
def test_order_and_splitting_of_the_evidence_do_not_matter(found):
    halves = [SplitBins(w, [x // 2 for x in here], [x // 2 for x in rest]) for w, here, rest in found]
    others = [
        SplitBins(w, [x - x // 2 for x in here], [x - x // 2 for x in rest])
        for w, here, rest in reversed(found)
    ]
    parts = [*others, *halves]
    assert _log_e_distance(parts, DECILES, 0.1) == pytest.approx(
        _log_e_distance(found, DECILES, 0.1), abs=1e-6
    )
    assert log_e_band(parts, 1.5) == pytest.approx(log_e_band(found, 1.5), abs=1e-6)


@given(strata, st.floats(0, 0.3), st.floats(0, 0.2))
def test_a_wider_limit_has_less_evidence_against_it(found, limit, more):
    """Cut by cut; so of the mean as well."""
    wide, narrow = (_log_e_distance(found, DECILES, at) for at in (limit + more, limit))
    assert wide <= narrow + 1e-6 or narrow < 0


def test_nothing_seen_is_no_evidence():
    nothing = [SplitBins(0.05, (0,) * 10, (0,) * 10)]
    assert _log_e_distance(nothing, DECILES, 0.1) == pytest.approx(0)
    assert log_e_band(nothing, 1.5) == pytest.approx(0)
    assert _log_e_distance([], DECILES, 0.1) == pytest.approx(0)


def drawn(rng: random.Random, size: int, power: float) -> list[int]:
    """Counts by decile of scores u^power."""
    out = [0] * 10
    for _ in range(size):
        out[int(rng.random() ** power * 10)] += 1
    return out


def test_what_is_beyond_the_limit_is_found_and_what_is_within_is_not():
    rng = random.Random(3)
    far, near = (SplitBins(0.2, drawn(rng, 2000, p), drawn(rng, 8000, 1.0)) for p in (0.5, 0.85))
    assert _log_e_distance([far], DECILES, 0.1) > log(1000) > 0 > _log_e_distance([near], DECILES, 0.1)
    assert log_e_band([far], 1.5) > log(1000) > 0 > log_e_band([near], 1.5)
    assert log_e_differ([near]) > log(100)  # they do differ; that is no fault


def test_the_distance_is_the_largest_gap():
    assert ks_distance((10, 20, 70), (30, 30, 40)) == pytest.approx(0.3)
    assert ks_distance((1, 2, 7), (10, 20, 70)) == pytest.approx(0)
    assert ks_distance((1, 2), (0, 0)) == 0


def test_stability_by_hand():
    assert stability_index((10, 10), (100, 100)) == pytest.approx(0, abs=1e-9)
    assert stability_index((199, 99), (149, 149)) == pytest.approx((2 / 3 - 0.5) * log(2), abs=0.005)
