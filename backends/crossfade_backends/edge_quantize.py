"""INT8 dynamic quantisation of an ONNX model: weights are stored as 8-bit integers, and what they are multiplied with is rounded to
8 bits when it is known.

onnxruntime's own tool finds the scale of the second from all rows of a request together. A row then has another score in another
company, and in a large batch seven to ten times as many decisions change as in single rows (docs/edge.md).

Rule: here each row has its own scale. Sums of integers are exact, so a score is the same, bit for bit, alone and among others.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

QUANTISED = ("MatMul", "Gemm")
_OLDEST_OPSET = 13  # that can quantise rows, each with its own scale
_FROM_MINUS = 128  # the unsigned integer that stands for 0, where there can be values below 0
_SMALLEST = 1e-12  # a row of zeros has a scale too


class NothingToQuantiseError(Exception):
    """The message says which operators the model has, or that they are too old."""


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Raises NothingToQuantiseError where no weights are multiplied as matrices, as in trees."""
    operators = sorted({node.op_type for node in model.graph.node})
    nothing = NothingToQuantiseError(
        f"has no {' or '.join(QUANTISED)} with weights, so that INT8 changes nothing: its operators are {', '.join(operators)}"
    )
    if not set(QUANTISED) & set(operators):
        raise nothing
    if (opset := _opset(model)) < _OLDEST_OPSET:
        raise NothingToQuantiseError(f"is of opset {opset}; {_OLDEST_OPSET} or a later one is needed")
    made = _by_onnxruntime(model)
    nodes = list(made.graph.node)
    if all(node.op_type != "DynamicQuantizeLinear" for node in nodes):
        raise nothing
    del made.graph.node[:]
    made.graph.node.extend(_with_scales_of_rows(made.graph, nodes, _opset(made)))
    del made.graph.value_info[:]  # shapes that the tool has inferred; nothing needs them
    return made


def _opset(model: onnx.ModelProto) -> int:
    return next(int(found.version) for found in model.opset_import if found.domain in ("", "ai.onnx"))


def _with_scales_of_rows(
    graph: onnx.GraphProto, nodes: Sequence[NodeProto], opset: int
) -> Iterator[NodeProto]:
    """DynamicQuantizeLinear has one scale, which the tool multiplies with the one of the weights, and the product with the sums."""
    not_negative = {name for node in nodes if node.op_type in ("Relu", "Sigmoid") for name in node.output}
    scales: set[str] = set()
    products: dict[str, Sequence[str]] = {}
    for node in nodes:
        if node.op_type == "DynamicQuantizeLinear":
            scales.add(node.output[1])
            yield from _by_row(graph, node, node.input[0] in not_negative, opset)
        elif node.op_type == "Mul" and node.input[0] in scales:
            products[node.output[0]] = node.input
        elif node.op_type == "Mul" and node.input[1] in products:
            # One after the other: onnxruntime joins a product with the sums, and takes its first row's scale for all.
            of_row, of_weights = products[node.input[1]]
            between = f"{node.output[0]}_by_row"
            yield helper.make_node("Mul", [node.input[0], of_row], [between])
            yield helper.make_node("Mul", [between, of_weights], list(node.output))
        else:
            yield node


def _by_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    # Unsigned weights: with signed ones the sums of some processors overflow, and devices would not agree.
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        logging.disable(logging.WARNING)  # it advises a pass that these small graphs do not need
        try:
            quantize_dynamic(
                before,
                after,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                weight_type=QuantType.QUInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(after)


def _by_row(graph: onnx.GraphProto, node: NodeProto, not_negative: bool, opset: int) -> Iterator[NodeProto]:
    """The three outputs of DynamicQuantizeLinear, but with a scale [n, 1]: integers, scale, and the integer that stands for 0."""
    (values,), (integers, scale, zero) = node.input, node.output
    name = f"{integers}_row"

    def constant(suffix: str, value: object, kind: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(value, kind), f"{name}_{suffix}"))
        return f"{name}_{suffix}"

    sizes = values
    if not not_negative:
        sizes = f"{name}_sizes"
        yield helper.make_node("Abs", [values], [sizes])
    steps, zero_at = (255, 0) if not_negative else (127, _FROM_MINUS)
    graph.initializer.append(numpy_helper.from_array(np.array(zero_at, np.uint8), zero))
    if opset < 18:
        yield helper.make_node("ReduceMax", [sizes], [f"{name}_most"], axes=[-1], keepdims=1)
    else:
        axes = constant("axes", [-1], np.int64)
        yield helper.make_node("ReduceMax", [sizes, axes], [f"{name}_most"], keepdims=1)
    yield helper.make_node(
        "Max", [f"{name}_most", constant("smallest", _SMALLEST, np.float32)], [f"{name}_some"]
    )
    yield helper.make_node("Div", [f"{name}_some", constant("steps", steps, np.float32)], [scale])
    yield helper.make_node("Reshape", [scale, constant("flat", [-1], np.int64)], [f"{name}_scales"])
    yield helper.make_node("Shape", [f"{name}_scales"], [f"{name}_rows"])
    yield helper.make_node("Expand", [zero, f"{name}_rows"], [f"{name}_zeros"])
    yield helper.make_node("QuantizeLinear", [values, f"{name}_scales", f"{name}_zeros"], [integers], axis=0)
