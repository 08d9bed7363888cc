"""Profiles: what is read, what is refused and how that is said, and what rows give."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.profile import (
    MOST_CATEGORIES,
    MOST_FIELDS,
    BadProfile,
    CategoryField,
    NumberField,
    TextField,
    read_profile,
    write_profile,
)
from crossfade.quality.profiling import category_of, field_of, profile_of, type_of
from crossfade.quality.sketch import Sketch, empty_counts

AGE = {"type": "number", "n": 4, "cuts": [1, 2], "counts": [1, 2, 1], "low": 0, "high": 9}
PLAN = {"type": "category", "n": 3, "counts": {"a": 2}, "rest": 1, "missing": 1}


def document(**changed) -> bytes:
    return json.dumps({"format": 1, "rows": 4, "fields": {"age": AGE, "plan": PLAN}, **changed}).encode()


def test_a_profile_is_read():
    profile = read_profile(document(score={**AGE, "n": 4}, name="churn v3", loss=0.2))
    assert profile.fields["age"] == NumberField(4, (1.0, 2.0), (1, 2, 1), 0.0, 9.0)
    assert profile.fields["plan"] == CategoryField(3, {"a": 2}, rest=1, missing=1)
    assert profile.name == "churn v3"
    assert read_profile(write_profile(profile)) == profile


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "format": ({"format": 2}, "format: must be 1, not 2"),
    "no fields": ({"fields": {}}, "fields: has none"),
    "bins": ({"fields": {"age": {**AGE, "counts": [1, 3]}}}, "fields.age.counts: must be one more than the 2 cuts"),
    "order": ({"fields": {"age": {**AGE, "cuts": [2, 1]}}}, "fields.age.cuts: must rise"),
    "sum": ({"fields": {"age": {**AGE, "n": 3}}}, "fields.age.counts: add up to 4, not to n, which is 3"),
    "rest": ({"fields": {"plan": {**PLAN, "rest": 5}}}, "fields.plan.counts: add up to 7"),
    "negative": ({"fields": {"age": {**AGE, "counts": [-1, 4, 1]}}}, "fields.age: counts must not be negative"),
    "rows": ({"rows": 3}, "fields.age: counts more values than the 3 rows"),
    "score": ({"score": {**AGE, "cuts": [1, 1]}}, "score.cuts: must rise"),
    "loss": ({"loss": 1.5}, "loss: must be from 0 to 1, not 1.5"),
    "sample": ({"columns": ["age"], "sample": [[1], [1, 2]]}, "sample.1: has 2 values for 1 columns"),
    "many fields": ({"fields": {str(i): AGE for i in range(MOST_FIELDS + 1)}}, "fields: must be at most 200, not 201"),
    "many categories": (
        {"rows": 51, "fields": {"plan": {"type": "category", "n": 51, "counts": {str(i): 1 for i in range(51)}}}},
        "fields.plan.counts: must be at most 50, not 51",
    ),
    "many cuts": (
        {"rows": 202, "fields": {"a": {**AGE, "n": 202, "cuts": list(range(201)), "counts": [1] * 202}}},
        "fields.a.cuts: must be at most 200, not 201",
    ),
    "type": ({"fields": {"age": {"type": "date", "n": 1}}}, "no profile: Invalid value 'date'"),
    "fields type": ({"fields": 3}, "no profile: Expected `object`"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(case):
    changed, message = BAD[case]
    with pytest.raises(BadProfile) as found:
        read_profile(document(**changed))
    assert str(found.value).startswith(message)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"3", b"[" * 100_000])
def test_what_is_no_profile_is_refused(data):
    with pytest.raises(BadProfile, match="no profile"):
        read_profile(data)


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.text(max_size=6), st.integers()).map(lambda d: json.dumps(d).encode())
)
def test_any_bytes_are_a_profile_or_refused(data):
    with pytest.raises(BadProfile):
        read_profile(data)


# ── made of rows ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "missing"), (nan, "missing"), (inf, "missing"), (3, "number"), (2.5, "number"), (True, "category"),
     ("x", "category"), ([1], "other"), ({}, "other"), (10**400, "other")],
)  # fmt: skip
def test_types(value, expected):
    assert type_of(value) == expected


def test_booleans_are_spelled_as_in_json():
    assert (category_of(True), category_of(False), category_of("True")) == ("true", "false", "True")


def test_a_field_has_the_type_of_most_of_its_values():
    assert field_of([1, 2, 2, "x", None]) == NumberField(
        3, (1.0, 2.0), (1, 2, 0), 1.0, 2.0, missing=1, other=1
    )
    assert field_of(["a", "a", True, 4, [1]]) == CategoryField(3, {"a": 2, "true": 1}, other=2)
    assert field_of([None, None]) == CategoryField(0, {}, missing=2)


def test_many_values_are_text_and_few_frequent_ones_are_categories():
    ids = [f"C{i}" for i in range(600)]
    assert field_of(ids) == TextField(600)
    often = field_of(["DE"] * 9000 + ids)
    assert isinstance(often, CategoryField)
    assert len(often.counts) == MOST_CATEGORIES
    assert often.rest == 600 - (MOST_CATEGORIES - 1)


numbers = st.integers(-5, 5) | st.floats(-1e9, 1e9)
values = st.one_of(numbers, st.none(), st.booleans(), st.sampled_from("ab"), st.just([1]))


@given(st.lists(values, max_size=60))
def test_a_field_counts_each_value_once(found):
    field = field_of(found)
    assert field.n + field.missing + field.other == len(found)


@given(st.lists(st.fixed_dictionaries({}, optional={"a": values, "b": values}), max_size=40))
def test_a_profile_of_rows_is_valid_and_counts_what_a_sketch_of_them_counts(rows):
    profile = profile_of(rows, [0.5] * len(rows), sampled=rows[:3])
    if not profile.fields and profile.score is None:
        return
    assert read_profile(write_profile(profile)) == profile
    sketch = Sketch()
    for row in rows:
        sketch.add_row(profile, row)
    assert sketch.new == {}
    for name, field in profile.fields.items():
        counts = sketch.fields[name]
        assert (counts.n, counts.missing, counts.other) == (field.n, field.missing, field.other)
        if isinstance(field, NumberField):
            assert tuple(counts.counts) == field.counts
        elif isinstance(field, CategoryField):
            assert counts.counts == [*field.counts.values(), field.rest]


def test_a_sample_has_no_texts_and_no_lists():
    rows = [{"id": f"C{i}", "age": i, "odd": [i]} for i in range(600)]
    profile = profile_of(rows, sampled=rows[:2])
    assert profile.columns == ("age", "odd")
    assert profile.sample == ((0, None), (1, None))


def test_a_profile_has_a_limit_of_fields():
    assert len(profile_of([{str(i): 1 for i in range(300)}]).fields) == MOST_FIELDS


def test_cuts_are_percentiles():
    field = field_of(list(range(1, 1001)))
    assert isinstance(field, NumberField)
    assert field.cuts == tuple(float(10 * k) for k in range(1, 100))
    assert set(field.counts) == {10}
    assert len(empty_counts(field).counts) == len(field.counts)
