"""Live values beside a profile: sketches add up, and each kind of change is found and put into numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.field_drift import decile_cuts, detector_logs, field_drift, merged_bins
from crossfade.quality.profile import Field, NumberField
from crossfade.quality.profiling import field_of, profile_of
from crossfade.quality.sketch import MOST_NAMES, FieldCounts, Sketch, add_value, empty_counts
from crossfade.stats.sequential import log_mean_exp

SURE = log(1000)
TOLERANCE = 0.05


def numbers(n: int, shift: float = 0.0, seed: int = 1) -> list[object]:
    draw = random.Random(seed)
    return [draw.gauss(shift, 1) for _ in range(n)]


def letters(n: int, shares: dict[str, float], seed: int = 1) -> list[object]:
    return list(random.Random(seed).choices([*shares], [*shares.values()], k=n))


def counted(field: Field, live: Sequence[object]) -> FieldCounts:
    found = empty_counts(field)
    for value in live:
        add_value(found, field, value)
    return found


NUMBERS = field_of(numbers(10_000))
LETTERS = field_of(letters(10_000, {"a": 0.6, "b": 0.4}))
TEXTS = field_of([f"C{i}" for i in range(10_000)])

CHANGES: dict[str, tuple[Field, Sequence[object]]] = {
    "shift": (NUMBERS, numbers(2000, shift=0.5, seed=2)),
    "out of range": (NUMBERS, [100.0] * 2000),
    "missing": (NUMBERS, numbers(1600, seed=2) + [None] * 400),
    "type": (NUMBERS, numbers(1600, seed=2) + ["12"] * 400),
    "share": (LETTERS, letters(2000, {"a": 0.4, "b": 0.6}, seed=2)),
    "unseen": (LETTERS, letters(1700, {"a": 0.6, "b": 0.4}, seed=2) + ["new"] * 300),
    "numbers for letters": (LETTERS, [1] * 2000),
    "missing texts": (TEXTS, ["x"] * 1600 + [None] * 400),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(change):
    field, live = CHANGES[change]
    found = field_drift(field, counted(field, live), TOLERANCE)
    assert found.log_e > SURE
    assert found.farthest > TOLERANCE


SAME: dict[str, tuple[Field, Sequence[object]]] = {
    "numbers": (NUMBERS, numbers(2000, seed=2)),
    "small shift": (NUMBERS, numbers(20_000, shift=0.1, seed=2)),
    "letters": (LETTERS, letters(2000, {"a": 0.62, "b": 0.38}, seed=2)),
    "texts": (TEXTS, [f"D{i}" for i in range(2000)]),
    "nothing": (NUMBERS, []),
}


@pytest.mark.parametrize("case", SAME)
def test_what_is_within_the_tolerance_has_no_evidence(case):
    field, live = SAME[case]
    found = field_drift(field, counted(field, live), TOLERANCE)
    assert found.log_e <= 0.0
    assert found.farthest <= TOLERANCE


def test_the_numbers_say_what_is_seen():
    live = counted(NUMBERS, [*numbers(900, shift=0.5, seed=2), *[None] * 100])
    found = field_drift(NUMBERS, live, TOLERANCE)
    assert (found.n, found.missing, found.missing_before) == (900, 0.1, 0.0)
    assert found.wasserstein == pytest.approx(0.5, abs=0.1)
    assert found.psi is not None and found.psi_usual is not None
    assert found.psi > found.psi_usual
    assert found.chi_square_p is None
    same = field_drift(NUMBERS, counted(NUMBERS, numbers(900, seed=4)), TOLERANCE)
    assert same.psi is not None and same.psi_usual is not None
    assert same.psi < 2 * same.psi_usual
    categories = field_drift(LETTERS, counted(LETTERS, ["a"] * 500 + ["z"] * 3), TOLERANCE)
    assert categories.chi_square_p is not None and categories.chi_square_p < 1e-6
    assert categories.unseen == {"z": 3}
    assert field_drift(TEXTS, counted(TEXTS, ["x"]), TOLERANCE).psi is None


def test_cuts_of_few_values_are_used_once():
    field = field_of([0] * 70 + [1] * 25 + [2] * 5)
    assert isinstance(field, NumberField)
    assert decile_cuts(field) == [0, 1]
    assert merged_bins([70, 25, 5, 1], [0, 1]) == [70, 25, 6]


values = st.one_of(st.none(), st.integers(-3, 3), st.floats(-3, 3), st.sampled_from("abc"), st.booleans())
rows = st.lists(st.fixed_dictionaries({}, optional={"x": values, "y": values, "z": values}), max_size=20)
PROFILE = profile_of([{"x": i % 7 - 3, "y": "ab"[i % 2]} for i in range(100)], [i / 100 for i in range(100)])


def sketch_of(found) -> Sketch:
    assert PROFILE.score is not None
    sketch = Sketch()
    for row in found:
        sketch.add_row(PROFILE, row)
        sketch.add_score(PROFILE.score, "v1", 0.5)
    return sketch


@given(rows, rows)
def test_adding_up_is_merging(some, others):
    together = sketch_of([*some, *others])
    parts = sketch_of(some)
    parts.add(sketch_of(others))
    assert parts == together
    assert parts.rows == len(some) + len(others)


def test_a_field_that_the_profile_has_not_is_named():
    sketch = sketch_of([{"x": 1, "z": 2}, {"z": 2}])
    assert sketch.new == {"z": 2}
    assert sketch.fields["y"].missing == 2


def test_names_have_a_limit():
    sketch = sketch_of([{f"new{i}": 1} for i in range(100)])
    assert len(sketch.new) == MOST_NAMES
    letters = counted(LETTERS, [f"{i}" for i in range(100)])
    assert len(letters.unseen) == MOST_NAMES
    assert letters.counts[-1] == 100


def test_lows_and_highs_are_kept():
    found = counted(NUMBERS, [3.0, -2.0])
    assert (found.low, found.high) == (-2.0, 3.0)
    found.add(counted(NUMBERS, [7]))
    assert (found.low, found.high) == (-2.0, 7.0)


@pytest.mark.parametrize("case", [*SAME, *CHANGES])
def test_a_detector_gets_what_the_test_is_the_mean_of(case):
    """With fewer alternatives, so about as much."""
    field, live = (SAME | CHANGES)[case]
    counts = counted(field, live)
    groups = detector_logs(field, counts, TOLERANCE)
    assert len(groups) == 3
    found = log_mean_exp([log_mean_exp(logs) for logs in groups])
    expected = field_drift(field, counts, TOLERANCE).log_e
    assert found == pytest.approx(expected, abs=max(2.0, 0.1 * abs(expected)))
