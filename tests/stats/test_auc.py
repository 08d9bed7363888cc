"""The area under the ROC curve against its definition and scikit-learn, and DeLong's variance against a simulation."""

from __future__ import annotations

import random
from collections import Counter
from math import isclose
from statistics import pvariance

from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.auc import ByScore, auc_of

ROWS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=60)


def _by_score(rows: list[tuple[float, bool]]) -> list[ByScore]:
    counted: dict[float, Counter[bool]] = {}
    for score, label in rows:
        counted.setdefault(score, Counter())[label] += 1
    return [ByScore(score, found[False], found[True]) for score, found in counted.items()]


@given(ROWS)
def test_it_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[float, bool]]) -> None:
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    found = auc_of(_by_score(rows))
    if len(positives) < 2 or len(negatives) < 2:
        assert found is None
        return
    right = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    assert found is not None
    assert isclose(found.estimate, right / len(positives) / len(negatives), abs_tol=1e-12)
    assert found.n == len(rows)
    assert found.variance >= 0


def test_it_is_what_scikit_learn_says() -> None:
    from sklearn.metrics import roc_auc_score

    draw = random.Random(4)
    rows: list[tuple[float, bool]] = [(round(draw.gauss(0, 1), 1), draw.random() < 0.3) for _ in range(500)]
    found = auc_of(_by_score(rows))
    assert found is not None
    expected = roc_auc_score([label for _, label in rows], [score for score, _ in rows])
    assert isclose(found.estimate, expected, abs_tol=1e-12)


def test_the_variance_is_that_of_many_samples() -> None:
    draw = random.Random(5)
    found = [
        auc_of(_by_score([(draw.gauss(label, 1), label) for label in [True] * 60 + [False] * 140]))
        for _ in range(400)
    ]
    estimates = [each.estimate for each in found if each is not None]
    variances = [each.variance for each in found if each is not None]
    assert len(estimates) == 400
    assert 0.8 < (sum(variances) / 400) / pvariance(estimates) < 1.25
