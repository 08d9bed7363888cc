"""Differences of pairs: reference values, expectation one, and ranked pairs whose mean is the AUC."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from math import exp

import pytest

from crossfade.rollout.differences import Differences, log_e_less, log_e_more
from crossfade.stats.bounded import LEVELS


def of_counts(n: int, better: int, worse: int) -> list[int]:
    levels = [0] * (LEVELS + 1)
    levels[LEVELS], levels[0], levels[LEVELS // 2] = better, worse, n - better - worse
    return levels


def test_reference_values_of_paired_labels():
    """By independent code (numpy); "better" is an error of the challenger alone there."""
    assert log_e_more(of_counts(2000, 60, 25), 0.0) == pytest.approx(5.402616, abs=1e-6)
    assert log_e_more(of_counts(2000, 60, 25), 0.01) == pytest.approx(0.531886, abs=1e-6)
    assert log_e_less(of_counts(2000, 20, 25), 0.01) == pytest.approx(4.350391, abs=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.1, -0.2])
def test_the_expectation_at_the_margin_is_one(margin):
    """Exactly, over all outcomes of three pairs whose mean difference is the margin, in both directions."""
    chances = {1: 0.3 + margin / 2, 0: 0.4, -1: 0.3 - margin / 2}
    for test in (log_e_more, log_e_less):
        mean = 0.0
        for outcome in product(chances, repeat=3):
            chance = 1.0
            for d in outcome:
                chance *= chances[d]
            mean += chance * exp(test(of_counts(3, outcome.count(1), outcome.count(-1)), margin))
        assert mean == pytest.approx(1)


def auc(scores: list[tuple[float, bool]]) -> float:
    """The share of pairs in which the positive one has the higher score; scores have few values."""
    yes, no = (Counter(s for s, label in scores if label is wanted) for wanted in (True, False))
    won = sum(m * n * ((a > b) + (a == b) / 2) for a, m in yes.items() for b, n in no.items())
    return won / (yes.total() * no.total())


def drawn(rng: random.Random, n: int, shift: float) -> list[tuple[float, bool]]:
    labels = [rng.random() < 0.2 for _ in range(n)]
    return [(round(rng.gauss(shift * label, 1), 1), label) for label in labels]


def test_ranked_answers_of_both_sides_have_the_mean_of_their_aucs():
    rng = random.Random(3)
    here, rest = drawn(rng, 8000, 0.5), drawn(rng, 32_000, 1.5)
    found = Differences()
    for i in range(40_000):
        side = i % 5 == 0
        score, label = here[i // 5] if side else rest[i - i // 5 - 1]
        found.rank(score, label, side, i)
    assert found.here.value == pytest.approx(auc(here), abs=0.02)
    assert found.rest.value == pytest.approx(auc(rest), abs=0.02)
    assert found.n == found.here.n > 800
    middle = (sum(k * n for k, n in enumerate(found.levels)) / found.n / LEVELS) * 2 - 1
    assert middle == pytest.approx(found.mean, abs=0.01)


def test_ranked_mirrored_pairs_rank_the_same_requests():
    rng, found = random.Random(4), Differences()
    for i in range(4000):
        label = rng.random() < 0.3
        truth = rng.gauss(label, 1)
        found.rank_pair(truth + rng.gauss(0, 1), truth, label, i)
    assert found.mean < -0.05
    assert found.better < found.worse
    assert log_e_less(found.levels, 0.0) > 4 > log_e_more(found.levels, 0.0)


def test_every_answer_is_ranked_once():
    found = Differences()
    for i, (score, label) in enumerate([(0.5, False), (0.5, False), (0.5, True), (0.9, True), (0.1, False)]):
        found.rank_pair(score, 1 - score, label, i)
    assert (found.n, found.better, found.worse) == (2, 1, 0)
    assert (found.here.total, found.rest.total) == (0.5 + 1, 0.5 + 0)  # a tie is half
    assert not (found.ranks.yes or found.ranks.no)


def test_what_waits_to_be_ranked_is_bounded_and_no_part_of_a_record():
    found = Differences()
    for i in range(1000):
        found.rank(0.5, False, True, i)
        found.is_first(i, True)
    assert len(found.ranks.no) == 64
    kept = found.sums()
    assert not kept.ranks.no and not kept.keys.seen
    assert len(found.ranks.no) == 64


def test_the_first_pair_of_a_key_counts_and_each_without_a_key():
    found = Differences()
    assert [found.is_first(7, True) for _ in range(3)] == [True, False, False]
    assert [found.is_first(7, False) for _ in range(3)] == [True, True, True]
