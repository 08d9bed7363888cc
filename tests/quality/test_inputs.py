"""Rows of named values in the bodies of requests, by protocol."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.inputs import MOST_VALUES, input_rows, rows_of

BODIES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "plain": ({"age": 3, "plan": "a"}, [{"age": 3, "plan": "a"}]),
    "nested": ({"customer": {"age": 3, "tags": [1]}}, [{"customer.age": 3, "customer.tags": [1]}]),
    "list": ([{"age": 1}, {"age": 2}], [{"age": 1}, {"age": 2}]),
    "instances": ({"instances": [{"age": 1}, [4, 5]]}, [{"age": 1}, {"0": 4, "1": 5}]),
    "records": ({"dataframe_records": [{"age": 1}]}, [{"age": 1}]),
    "split": ({"dataframe_split": {"columns": ["age", "plan"], "data": [[1, "a"], [2, "b"]]}}, [{"age": 1, "plan": "a"}, {"age": 2, "plan": "b"}]),
    "columns": ({"inputs": {"age": [1, 2], "plan": ["a", "b"]}}, [{"age": 1, "plan": "a"}, {"age": 2, "plan": "b"}]),
    "inputs": ({"inputs": [{"age": 1}]}, [{"age": 1}]),
    "tensors": (
        {"inputs": [
            {"name": "age", "shape": [2], "datatype": "INT64", "data": [1, 2]},
            {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
            {"name": "y", "shape": [2, 1], "datatype": "FP32", "data": [[5], [6]]},
        ]},
        [{"age": 1, "x.0": 1, "x.1": 2, "y": 5}, {"age": 2, "x.0": 3, "x.1": 4, "y": 6}],
    ),
    "odd tensors": ({"inputs": [{"name": "a", "shape": [2], "data": [1, 2, 3]}, {"name": 4, "shape": [1], "data": [1]}]}, []),
    "split without data": ({"dataframe_split": {"columns": ["a"]}}, []),
    "number": (3, []),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_rows_of_each_protocol(case):
    document, rows = BODIES[case]
    assert rows_of(document) == rows
    assert input_rows(b"", json.dumps(document).encode()) == rows


def test_a_coding_is_undone():
    head = b"content-type: application/json\r\ncontent-encoding: gzip\r\n"
    assert input_rows(head, gzip.compress(b'{"age": 3}')) == [{"age": 3}]
    assert input_rows(b"content-encoding: gzip\r\n", b'{"age": 3}') == []


@pytest.mark.parametrize("body", [None, b"", b"{", b"\xff", b"[" * 10_000])
def test_what_cannot_be_read_has_no_rows(body):
    assert input_rows(b"", body) == []


def test_a_row_has_a_limit():
    assert len(rows_of({str(i): i for i in range(5000)})[0]) == MOST_VALUES
    assert len(rows_of({"instances": [list(range(5000))]})[0]) == MOST_VALUES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["inputs", "instances", "shape", "data", "name", "columns", "dataframe_split", "a"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_any_document_has_rows_of_named_values(document):
    for row in rows_of(document):
        assert all(isinstance(name, str) for name in row)
