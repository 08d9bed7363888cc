"""The distance of two rows, by type."""

from __future__ import annotations

from math import nan, sqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade.quality.answer import Output, Row
from crossfade.quality.distance import row_distance, rows_distance, text_distance, value_distance
from crossfade.quality.outputs import LARGEST_SCORE

numbers = st.floats(-LARGEST_SCORE, LARGEST_SCORE, allow_nan=False)
shares = st.floats(0, 1)
vectors = st.lists(shares, min_size=2, max_size=4).map(tuple)
outputs = st.one_of(
    st.builds(Output, st.just("label"), st.one_of(st.booleans(), st.integers(0, 3), st.text(max_size=3))),
    st.builds(Output, st.just("score"), shares),
    st.builds(Output, st.just("number"), st.one_of(numbers, st.integers(-(10**300), 10**300))),
    st.builds(Output, st.just("vector"), vectors),
    st.builds(Output, st.just("embedding"), st.lists(numbers, min_size=2, max_size=4).map(tuple)),
    st.builds(Output, st.just("text"), st.text(max_size=30)),
)
named = st.tuples(outputs, st.sampled_from(["", "a", "b"])).map(lambda o: Output(o[0].kind, o[0].value, o[1]))
rows = st.lists(named, max_size=4).map(tuple)
spreads = st.dictionaries(st.sampled_from(["", "a", "b"]), st.floats(0, 1e6))


@given(st.lists(rows, max_size=3), st.lists(rows, max_size=3), spreads)
def test_it_is_in_0_to_1_and_symmetric(a: list[Row], b: list[Row], spread: dict[str, float]) -> None:
    found = rows_distance(a, b, spread)
    assert 0 <= found <= 1
    assert found == pytest.approx(rows_distance(b, a, spread), abs=1e-12)


@given(st.lists(rows, max_size=3), spreads)
def test_equal_answers_are_at_0(a: list[Row], spread: dict[str, float]) -> None:
    assert rows_distance(a, list(a), spread) == 0


@given(rows, st.randoms())
def test_the_order_of_named_outputs_does_not_matter(row: Row, random) -> None:
    assume(len({output.name for output in row}) == len(row))
    mixed = list(row)
    random.shuffle(mixed)
    assert row_distance(row, tuple(mixed)) == 0


def out(kind, value, name="") -> Output:
    return Output(kind, value, name)


@pytest.mark.parametrize(
    ("a", "b", "spread", "expected"),
    [
        (out("label", "high"), out("label", "low"), None, 1),
        (out("label", 1), out("label", 1.0), None, 0),
        (out("label", True), out("label", 1), None, 1),
        (out("label", 1), out("label", 2), None, 1),
        (out("score", 0.25), out("score", 0.5), 0.001, 0.25),
        (out("number", 10), out("number", 12), 4.0, 0.5),
        (out("number", 10), out("number", 20), 4.0, 1),
        (out("number", 10), out("number", 30), None, 0.5),  # no spread is known yet
        (out("number", 10), out("number", 30), 0.0, 0.5),
        (out("number", 0), out("number", 0), None, 0),
        (out("score", 0.9), out("number", 1.1), 2.0, 0.1),  # one output, told apart by its value
        (out("label", 3), out("number", 3.5), 1.0, 0.5),
        (out("number", nan), out("number", nan), 1.0, 1),
        (out("score", 0.5), out("score", nan), None, 1),
        (out("vector", (0.5, 0.5)), out("vector", (0.7, 0.3)), None, 0.2),
        (out("vector", (0.5, 0.5)), out("vector", (0.5, 0.3, 0.2)), None, 1),
        (out("vector", (1, 1, 1)), out("vector", (0, 0, 0)), None, 1),  # as several labels at once
        (out("embedding", (1, 0)), out("embedding", (1, 1)), None, 1 - 1 / sqrt(2)),
        (out("embedding", (1, 0)), out("embedding", (-1, 0)), None, 1),
        (out("embedding", (1e300, 0)), out("embedding", (2e299, 0)), None, 0),
        (out("embedding", (0, 0)), out("embedding", (1, 0)), None, 1),
        (out("embedding", (1, nan)), out("embedding", (1, nan)), None, 1),
        (out("vector", (1.0, 0.5)), out("embedding", (2.0, 1.0)), None, 0),
        (out("label", "a"), out("score", 0.5), None, 1),
        (out("label", False), out("score", 0.0), None, 1),
        (out("score", 0.5), out("vector", (0.5, 0.5)), None, 1),
        (out("text", "a b c d"), out("label", "a b c e"), None, 1 - 3 / 5),
    ],
)
def test_by_type(a: Output, b: Output, spread: float | None, expected: float) -> None:
    assert value_distance(a, b, spread) == pytest.approx(expected, abs=1e-12)
    assert value_distance(b, a, spread) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("the model is good", "the model is bad", 1 - 3 / 5),
        ("good good good good", "good", 1 - 4 / 19),  # repeated without end: the lengths tell
        ("yes", "no", 1),
        ("", "no", 1),
        (" ", "  ", 0.5),
        ("模型很好", "模型不好", 1 - 3 / 5),
    ],
)
def test_texts_by_tokens_and_lengths(a: str, b: str, expected: float) -> None:
    assert text_distance(a, b) == pytest.approx(expected)


def test_a_row_or_output_without_a_partner_is_at_1() -> None:
    a, b = out("score", 0.5, "p"), out("label", "x", "l")
    assert rows_distance([(a,)], []) == rows_distance([], [(a,)]) == 1
    assert rows_distance([], []) == 0
    assert rows_distance([(a,), (a,), (a,), (a,)], [(a,), (a,), (a,)]) == 0.25
    assert row_distance((a, b), (a,)) == row_distance((a,), (b, a)) == 0.5


def test_ignored_outputs_are_not_compared() -> None:
    a, b, other = out("score", 0.5, "p"), out("label", "x", "id"), out("label", "y", "id")
    assert row_distance((a, b), (a, other), ignored={"id"}) == 0
    assert row_distance((b,), (other,), ignored={"id"}) == 0
