"""Which fields of two documents differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.fields import MOST_PATHS, MOST_VALUES, differing

documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.floats(0, 1), st.text(max_size=2)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(documents)
def test_the_order_of_keys_never_matters(document: Any) -> None:
    assert differing(document, shuffled(json.loads(json.dumps(document)))) == ()


@given(documents, documents)
def test_it_is_symmetric_and_finds_any_difference(a: Any, b: Any) -> None:
    assert differing(a, b) == differing(b, a)
    assert bool(differing(a, b)) == (json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True)) or a == b


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"a": 1}, {"a": 2}, ("a",)),
        ({"a": 1}, {"b": 1}, ("a", "b")),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, ("a.b.*.c",)),
        ([1, 2], [2, 1], ("*",)),
        ({"a": [1]}, {"a": [1, 2]}, ("a.*",)),
        ({"a": [1]}, {"a": {"0": 1}}, ("a",)),
        ({"a": True}, {"a": 1}, ("a",)),
        ({"a": 1}, {"a": 1.0}, ()),
        ({"a": None}, {}, ("a",)),
        (1, 2, ("$",)),
    ],
)
def test_paths(a: Any, b: Any, expected: tuple[str, ...]) -> None:
    assert differing(a, b) == expected


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ([("id",)], ("rows.*.at", "rows.*.score")),
        ([("id",), ("rows",)], ()),
        ([("id",), ("rows", "*", "at")], ("rows.*.score",)),
        ([("id",), ("rows", "0", "at")], ("rows.*.at", "rows.*.score")),
        ([("id",), ("rows", "0"), ("rows", "1", "at")], ("rows.*.score",)),
        ([("*",)], ()),
        ([()], ("id", "rows.*.at", "rows.*.score")),
    ],
)
def test_ignored_paths_are_left_out_with_all_below_them(ignored, expected) -> None:
    a = {"id": 1, "rows": [{"at": 1, "score": 0.5}, {"at": 1, "score": 0.5}]}
    b = {"id": 2, "rows": [{"at": 2, "score": 0.5}, {"at": 2, "score": 0.6}]}
    assert differing(a, b, ignored) == expected


def test_an_ignored_element_behind_the_end_does_not_hide_others() -> None:
    assert differing({"a": [1]}, {"a": [1, 2, 3]}, [("a", "1")]) == ("a.*",)
    assert differing({"a": [1]}, {"a": [1, 2]}, [("a", "1")]) == ()


def test_it_is_bounded() -> None:
    wide = {str(n): n for n in range(1000)}
    assert len(differing(wide, {})) == MOST_PATHS
    a: Any = 1
    b: Any = 2
    for _ in range(60):
        a, b = {"a": a}, {"a": b}
    assert differing(a, b) == (".".join("a" * 32),)
    long = [0] * (MOST_VALUES + 10)
    assert differing([*long, 1], [*long, 2]) == ()
    assert differing([[0] * MOST_VALUES, 1], [[0] * MOST_VALUES, 2]) == ()
