"""What a request asks a model: its body as rows of named values, whichever protocol it speaks.

Rule: it never raises; a body that is no such document has no rows. Names of nested values are paths (`customer.age`), and of
values without a name their place (`0`, `1`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crossfade.quality.encodings import unpack
from crossfade.quality.head_fields import HeadFields
from crossfade.quality.json_document import decode
from crossfade.quality.unreadable import Unreadable

LARGEST: Final = 4 * 1024 * 1024  # bytes without codings
MOST_ROWS: Final = 10_000
MOST_VALUES: Final = 1000  # of a row
DEEPEST: Final = 8  # objects inside each other whose values are named

Row = dict[str, Any]


def input_rows(head: bytes, body: bytes | None) -> list[Row]:
    """`head`: the lines of the request's head, for its content coding. `body` None: it is not known."""
    if not body:
        return []
    try:
        coding = HeadFields(head).find(b"content-encoding")
        if coding is not None:
            body = unpack(body, coding, LARGEST).content
        return rows_of(decode(body))
    except Unreadable:
        return []


def rows_of(document: Any) -> list[Row]:
    """Of a decoded JSON document: `instances`, `dataframe_split`, `dataframe_records`, `inputs`, a list, or one object."""
    if isinstance(document, list):
        return [_row(each) for each in document[:MOST_ROWS]]
    if not isinstance(document, dict):
        return []
    for key in ("instances", "dataframe_records"):
        if isinstance(document.get(key), list):
            return [_row(each) for each in document[key][:MOST_ROWS]]
    if isinstance(document.get("dataframe_split"), dict):
        return _split_rows(document["dataframe_split"])
    inputs = document.get("inputs")
    if isinstance(inputs, list):
        is_tensors = bool(inputs) and all(isinstance(each, dict) and "shape" in each for each in inputs)
        return _tensor_rows(inputs) if is_tensors else [_row(each) for each in inputs[:MOST_ROWS]]
    if isinstance(inputs, dict):
        return _columns({str(name): values for name, values in inputs.items() if isinstance(values, list)})
    return [_row(document)]


def _row(value: Any) -> Row:
    out: Row = {}
    _add(out, "", value, DEEPEST)
    return out


def _add(out: Row, name: str, value: Any, depth: int) -> None:
    if len(out) >= MOST_VALUES:
        return
    if isinstance(value, dict) and depth:
        for key, each in value.items():
            _add(out, f"{name}.{key}" if name else str(key), each, depth - 1)
    elif isinstance(value, list) and not name:
        for index, each in enumerate(value[:MOST_VALUES]):
            out[str(index)] = each
    elif name:
        out[name] = value


def _split_rows(split: dict[str, Any]) -> list[Row]:
    columns, data = split.get("columns"), split.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        return []
    names = [str(column) for column in columns[:MOST_VALUES]]
    return [dict(zip(names, row, strict=False)) for row in data[:MOST_ROWS] if isinstance(row, list)]


def _tensor_rows(tensors: list[Any]) -> list[Row]:
    """The first dimension is the batch; a tensor with several values in a row has a name for each: `features.0`."""
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        name, shape, data = tensor.get("name"), tensor["shape"], tensor.get("data")
        if not isinstance(name, str) or not isinstance(shape, list) or not isinstance(data, list):
            continue
        rows = shape[0] if shape and type(shape[0]) is int and shape[0] > 0 else 1
        flat = [value for each in data for value in each] if data and isinstance(data[0], list) else data
        size = len(flat) // rows
        if size * rows != len(flat) or not size:
            continue
        for index in range(min(size, MOST_VALUES)):
            columns[name if size == 1 else f"{name}.{index}"] = flat[index::size]
    return _columns(columns)


def _columns(columns: Mapping[str, list[Any]]) -> list[Row]:
    rows = min(max((len(values) for values in columns.values()), default=0), MOST_ROWS)
    return [
        {name: values[index] for name, values in columns.items() if index < len(values)}
        for index in range(rows)
    ]
