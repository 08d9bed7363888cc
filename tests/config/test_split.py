from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.config.problem import BadValue
from crossfade.config.split import term, weights


def read(split: dict[str, object]) -> dict[str, int]:
    return weights({name: term(written) for name, written in split.items()})


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"a": "100%"}, {"a": 10_000}),
        ({"a": "99.99%", "b": "0.01%"}, {"a": 9999, "b": 1}),
        ({"a": "100%", "b": "0%"}, {"a": 10_000, "b": 0}),
        ({"a": "1"}, {"a": 10_000}),
        ({"a": 9000, "b": 1000}, {"a": 9000, "b": 1000}),
        ({"a": "3", "b": "1"}, {"a": 7500, "b": 2500}),
        ({"a": 0.9, "b": 0.1}, {"a": 9000, "b": 1000}),
        ({"b": "1", "c": "1", "a": "1"}, {"b": 3333, "c": 3333, "a": 3334}),
        ({"a": "1", "b": "0"}, {"a": 10_000, "b": 0}),
        ({"a": "1e9", "b": "1e9"}, {"a": 5000, "b": 5000}),
    ],
)
def test_a_split_is_read(split: dict[str, object], expected: dict[str, int]):
    assert read(split) == expected
    assert list(read(split)) == list(expected)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({}, "must name at least one backend"),
        ({"a": "50%", "b": "49.99%"}, "must add up to 100%, not 99.99%"),
        ({"a": "50%", "b": "60%"}, "must add up to 100%, not 110%"),
        ({"a": "50%", "b": "1"}, "must be all percentages or all plain weights, not both"),
        ({"a": "0", "b": "0"}, "must have at least one weight above 0"),
        ({"a": "1", "b": "1000000"}, 'must give each backend 0 or at least 0.01%, "a" would get less'),
        ({str(n): "1" for n in range(257)}, "must name at most 256 backends, not 257"),
        ({"a": "-1"}, "must not be negative"),
        ({"a": "some"}, 'must be a percentage such as 5% or a plain weight, not "some"'),
        ({"a": "0.005%"}, 'must be a multiple of 0.01%, "0.005%" is finer'),
    ],
)
def test_an_invalid_split_is_refused(split: dict[str, object], message: str):
    with pytest.raises(BadValue) as caught:
        read(split)
    assert caught.value.message == message


NAMES = st.text("abcdef", min_size=1, max_size=3)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.integers(1, 10_000), min_size=1, max_size=20))
def test_plain_weights_are_apportioned_within_one_bucket_in_any_order(split: dict[str, int]):
    total = sum(split.values())
    try:
        found = read({**split})
    except BadValue:
        assert min(split.values()) * 10_000 < total
        return
    assert sum(found.values()) == 10_000
    assert all(abs(found[name] - Fraction(split[name] * 10_000, total)) < 1 for name in split)
    assert found == read(dict(reversed(split.items())))


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_percentages_are_exact(cuts: list[int]):
    edges = [0, *sorted(cuts), 10_000]
    parts = [high - low for low, high in pairwise(edges)]
    split = {f"b{n}": f"{part // 100}.{part % 100:02}%" for n, part in enumerate(parts)}
    assert list(read({**split}).values()) == parts
