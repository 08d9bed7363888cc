"""The Open Inference Protocol, version 2: output tensors, row by row.

Rule: the first dimension of a tensor is the batch. What a row has of a tensor is one value, or a vector. The binary
extension puts tensors behind the JSON; `oip_binary` reads those.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from crossfade.quality.answer import Answer, Output
from crossfade.quality.json_document import says_error
from crossfade.quality.oip_binary import PackedTensors
from crossfade.quality.outputs import (
    LONGEST_VECTOR,
    MOST_OUTPUTS,
    MOST_ROWS,
    RowBuilder,
    Wanted,
    flattened,
    output_of,
    vector_of,
)
from crossfade.quality.prediction import Prediction
from crossfade.quality.predictions import declarations
from crossfade.quality.unreadable import MISSING, OIP_ERROR, SHAPE, SIZE, TYPE, Problem, Unreadable

_FLOATS: Final = frozenset({"FP16", "FP32", "FP64", "BF16"})
_INTEGERS: Final = frozenset({f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)})
_OTHERS: Final = frozenset({"BOOL", "BYTES"})


class Tensor:
    """`values`: flat; `size`: of one row."""

    def __init__(self, name: str, datatype: str, rows: int, size: int, values: list[Any]) -> None:
        self.name = name
        self.datatype = datatype
        self.rows = rows
        self.size = size
        self.values = values

    def output(self, index: int, wanted: Wanted) -> Output | Problem:
        part = self.values[index * self.size : (index + 1) * self.size]
        if len(part) != 1:
            return vector_of(part, self.name, wanted)
        value = part[0]
        if self.datatype in _FLOATS and type(value) is int:
            value = float(value)  # JSON may spell 1.0 as 1
        if value is None and self.datatype in _OTHERS:
            return MISSING
        return output_of(value, self.name, wanted)


def is_oip(document: Any) -> bool:
    outputs = document.get("outputs") if isinstance(document, dict) else None
    return isinstance(outputs, list) and all(isinstance(each, dict) and "shape" in each for each in outputs)


def read_oip(document: Any, prediction: Prediction, packed: PackedTensors) -> Answer:
    if says_error(document):
        return Answer(error=OIP_ERROR.error, document=document)
    if not is_oip(document):
        return Answer(unread=SHAPE.unread, document=document)
    if len(document["outputs"]) > MOST_OUTPUTS:
        return Answer(unread=SIZE.unread, document=document)
    try:
        tensors = [_tensor(each, packed) for each in document["outputs"]]
    except Unreadable as error:
        return Answer(unread=error.problem.unread, error=error.problem.error, document=document)
    return _rows(tensors, prediction).answer(document)


def _tensor(output: dict[str, Any], packed: PackedTensors) -> Tensor:
    name, datatype, shape = output.get("name"), output.get("datatype"), output.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
        raise Unreadable(SHAPE)
    if not all(type(length) is int and 0 <= length < 2**31 for length in shape):
        raise Unreadable(SHAPE)
    if datatype not in _FLOATS | _INTEGERS | _OTHERS:
        raise Unreadable(TYPE)
    rows = shape[0] if shape else 1
    size = prod(shape[1:]) if len(shape) <= 16 else 0
    parameters = output.get("parameters")
    length = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    values = packed.take(datatype, length) if length is not None else _json_values(output.get("data"))
    if len(values) != rows * size:
        raise Unreadable(SHAPE)
    return Tensor(name, datatype, rows, size, values)


def _json_values(data: Any) -> list[Any]:
    """Flat, or nested as the shape says."""
    if data is None:
        raise Unreadable(MISSING)  # it may be in shared memory
    if not isinstance(data, list):
        raise Unreadable(SHAPE)
    flat = flattened(data, MOST_ROWS * LONGEST_VECTOR)
    if isinstance(flat, Problem):
        raise Unreadable(flat)
    return flat


def _rows(tensors: list[Tensor], prediction: Prediction) -> RowBuilder:
    """The declared tensors, or all of them. A row has what each of these has at its index."""
    builder = RowBuilder()
    named = {tensor.name: tensor for tensor in tensors}
    picked: list[tuple[Tensor, Wanted]] = []
    for path, wanted in declarations(prediction):
        tensor = named.get(".".join(path))
        if tensor is None:
            builder.note(MISSING)
        else:
            picked.append((tensor, wanted))
    if not prediction.score and not prediction.label:
        picked = [(tensor, "any") for tensor in tensors]
    for index in range(min(MOST_ROWS, max((tensor.rows for tensor, _ in picked), default=0))):
        builder.add([tensor.output(index, wanted) for tensor, wanted in picked if index < tensor.rows])
    return builder
