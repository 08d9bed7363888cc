"""The test of all fields together: a martingale without drift, and it finds what no field shows alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import exp, log

import pytest

from crossfade.observer import classifier
from crossfade.observer.classifier import BATCH, Epoch, encoder_of
from crossfade.quality.profile import Profile, Scalar
from crossfade.quality.profiling import profile_of

Rows = list[tuple[Scalar, ...]]


def rows(n: int, draw: random.Random, correlation: float = 0.0, shift: float = 0.0) -> Rows:
    out: Rows = []
    for _ in range(n):
        x = draw.gauss(0, 1)
        y = correlation * x + (1 - correlation**2) ** 0.5 * draw.gauss(0, 1)
        out.append((x + shift, y, draw.choice("ab")))
    return out


def profile(sample: Sequence[tuple[Scalar, ...]]) -> Profile:
    made = [dict(zip(("x", "y", "kind"), row, strict=True)) for row in sample]
    return profile_of(made, sampled=made)


def epoch(seed: int, n: int = 5 * BATCH) -> tuple[Epoch, random.Random]:
    draw = random.Random(seed)
    return Epoch(profile(rows(n, draw)), seed), draw


def test_the_first_batch_is_only_learned_from():
    made, draw = epoch(1)
    assert made.add(rows(BATCH, draw, shift=3)) == 0.0


def test_a_change_of_correlation_that_no_field_shows_is_found():
    made, draw = epoch(2, 10 * BATCH)
    logs = [made.add(rows(BATCH, draw, correlation=0.9)) for _ in range(10)]
    assert sum(logs) > log(10_000)


def test_a_shift_of_one_field_is_found_at_once():
    made, draw = epoch(3)
    assert sum(made.add(rows(BATCH, draw, shift=1)) for _ in range(3)) > log(10_000)


def test_without_drift_wealth_does_not_grow(monkeypatch):
    """Whatever the classifier is: here one that believes what it has seen by heart."""
    from sklearn.neighbors import KNeighborsClassifier

    monkeypatch.setattr(classifier, "classifier", lambda: KNeighborsClassifier(1))
    ends = []
    for seed in range(150):
        draw = random.Random(seed)
        sample: Rows = [(draw.random(),) for _ in range(80)]
        made = Epoch(
            profile_of([{"x": x} for (x,) in sample], sampled=[{"x": x} for (x,) in sample]), seed, 8
        )
        logs = [made.add([(draw.random(),) for _ in range(8)]) for _ in range(5)]
        ends.append(exp(sum(logs)))
    assert sum(ends) / len(ends) < 1.3
    assert sum(end >= 20 for end in ends) <= 0.05 * len(ends) + 4


def test_reference_rows_are_used_once():
    made, draw = epoch(4, 2 * BATCH + 10)
    made.add(rows(BATCH, draw))
    half = made.is_over
    made.add(rows(BATCH, draw))
    assert (half, made.is_over) == (False, True)
    assert len(made.reference) == 10
    assert len(made.rows) == 4 * BATCH


def test_the_rows_that_are_learned_from_are_bounded():
    made, draw = epoch(5, 20 * BATCH)
    made.reference = made.reference * 2
    for _ in range(12):
        made.add(rows(60, draw))
    assert len(made.rows) == len(made.labels) <= classifier.KEPT


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("x", 2, [2.0]), ("kind", "a", [1.0, 0.0]), ("kind", "z", [0.0, 0.0]), ("kind", None, [0.0, 0.0])],
)
def test_values_become_numbers(column, value, expected):
    made = profile([(1.0, 2.0, "a")] * 3 + [(1.0, 2.0, "b")])
    assert encoder_of(made, column)(value) == expected


@pytest.mark.parametrize("value", [None, "text", True])
def test_what_is_no_number_is_missing(value):
    (number,) = encoder_of(profile([(1.0, 2.0, "a")]), "x")(value)
    assert number != number
