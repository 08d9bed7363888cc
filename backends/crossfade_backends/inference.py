"""The Open Inference Protocol, version 2 (REST, JSON tensors): bodies in, bodies out.

Input is one [n, 5] tensor in the order of FEATURES, or five tensors [n] or [n, 1] named by
feature. Output is `churn_probability`, FP64 [n]. The binary tensor extension is not supported.

Rule: an invalid body gets a 400 that names the tensor (the protocol has no 422); too many rows
get a 413.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossfade_backends.data import FEATURES, FloatArray
from crossfade_backends.registry import Metadata, is_onnx
from crossfade_backends.replies import Refused, refuse
from crossfade_backends.rows import LIMITS, MAX_ROWS, refusal
from crossfade_backends.scoring import Question, ServedModel

_OUTPUT = "churn_probability"
_FLOATS = ("FP64", "FP32")
_INTEGERS = ("INT64", "INT32")
# How many bad values one refusal names.
_MAX_BAD_VALUES = 10


class InputTensor(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    datatype: str
    data: list[Any]


class RequestedOutput(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str


class InferenceRequest(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str | None = None
    inputs: list[InputTensor] = Field(min_length=1)
    outputs: list[RequestedOutput] | None = None


def describe_server(version: str) -> dict[str, Any]:
    return {"name": "crossfade-backends", "version": version, "extensions": []}


def describe_model(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.metadata.name,
        "versions": [model.metadata.version],
        "platform": "onnxruntime_onnx" if is_onnx(model.metadata) else "sklearn_skops",
        "inputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in FEATURES],
        "outputs": [{"name": _OUTPUT, "datatype": "FP64", "shape": [-1]}],
    }


def read_tensors(body: bytes, metadata: Metadata) -> Question:
    request = parse_request(body)
    matrix = as_matrix(request.inputs)
    _check_values(matrix)

    def answer(scores: FloatArray) -> dict[str, Any]:
        output = {"name": _OUTPUT, "datatype": "FP64", "shape": [len(scores)], "data": scores.tolist()}
        content = {"model_name": metadata.name, "model_version": metadata.version, "outputs": [output]}
        return content if request.id is None else {**content, "id": request.id}

    return Question(matrix, answer)


def parse_request(body: bytes) -> InferenceRequest:
    try:
        request = InferenceRequest.model_validate_json(body)
    except ValidationError as invalid:
        raise Refused(400, refusal(invalid).problems) from None
    unknown = [output.name for output in request.outputs or () if output.name != _OUTPUT]
    if unknown:
        raise refuse(400, f"unknown output {unknown[0]!r}, this model has {_OUTPUT!r}")
    return request


def as_matrix(inputs: list[InputTensor]) -> FloatArray:
    """(n, 5), in the order of FEATURES."""
    by_name = {tensor.name: tensor for tensor in inputs}
    if len(inputs) == len(FEATURES) and by_name.keys() == set(FEATURES):
        return np.column_stack(columns(by_name))
    if len(inputs) > 1:
        missing = [name for name in FEATURES if name not in by_name]
        raise refuse(400, f"expected one tensor, or one for each of {list(FEATURES)}; missing: {missing}")
    [tensor] = inputs
    if len(tensor.shape) != 2 or tensor.shape[1] != len(FEATURES):
        raise refuse(400, f"tensor {tensor.name!r}: shape {tensor.shape} is not [n, {len(FEATURES)}]")
    return _read_values(tensor).reshape(-1, len(FEATURES))


def columns(by_name: dict[str, InputTensor]) -> list[FloatArray]:
    rows = by_name[FEATURES[0]].shape[:1]
    for tensor in by_name.values():
        if not tensor.shape or tensor.shape not in (rows, [*rows, 1]):
            raise refuse(
                400, f"tensor {tensor.name!r}: shape {tensor.shape} is not [n] or [n, 1], one n for all"
            )
    return [_read_values(by_name[name]) for name in FEATURES]


def _read_values(tensor: InputTensor) -> FloatArray:
    """Row-major values; `data` may be flat or nested."""
    if tensor.datatype not in _FLOATS + _INTEGERS:
        raise refuse(
            400, f"tensor {tensor.name!r}: datatype {tensor.datatype!r} is not FP64, FP32 or integer"
        )
    if not 1 <= tensor.shape[0] <= MAX_ROWS:
        status = 413 if tensor.shape[0] else 400
        raise refuse(status, f"tensor {tensor.name!r}: {tensor.shape[0]} rows, must be 1 to {MAX_ROWS}")
    flat = _flatten(tensor)
    if len(flat) != math.prod(tensor.shape):
        raise refuse(400, f"tensor {tensor.name!r}: {len(flat)} values do not fill shape {tensor.shape}")
    # Compares types, because bool is an int for isinstance and for numpy.
    allowed = {int, float} if tensor.datatype in _FLOATS else {int}
    if not allowed.issuperset(map(type, flat)):
        raise refuse(400, f"tensor {tensor.name!r}: data is not all {tensor.datatype} numbers")
    try:
        values = np.array(flat, dtype=np.float64)
    except OverflowError:
        raise refuse(400, f"tensor {tensor.name!r}: a number is out of range") from None
    if tensor.datatype == "FP32":
        with np.errstate(over="ignore"):  # an overflow gives inf, which _check_values refuses
            return values.astype(np.float32).astype(np.float64)
    return values


def _flatten(tensor: InputTensor) -> list[Any]:
    if not any(isinstance(item, list) for item in tensor.data):
        return tensor.data
    width = math.prod(tensor.shape[1:])
    if len(tensor.shape) == 2 and all(isinstance(row, list) and len(row) == width for row in tensor.data):
        return [value for row in tensor.data for value in row]
    raise refuse(400, f"tensor {tensor.name!r}: nested data does not have shape {tensor.shape}")


def _check_values(matrix: FloatArray) -> None:
    limits = np.array([LIMITS[name] for name in FEATURES], dtype=np.float64)
    # In this form NaN is bad too: every comparison with NaN is false.
    bad = np.argwhere(~((matrix >= 0) & (matrix <= limits)))
    if len(bad):
        described = [
            f"{FEATURES[column]}[{row}] = {matrix[row, column]:g} is not in 0..{LIMITS[FEATURES[column]]}"
            for row, column in bad[:_MAX_BAD_VALUES].tolist()
        ]
        raise refuse(400, "; ".join(described))
