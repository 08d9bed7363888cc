"""A version of scikit-learn → the same model as ONNX; needs the extra `edge`.

Rule: the graph has plain operators where there is a choice (MatMul, not LinearClassifier): they give a row the same score, bit
for bit, alone and among others, and they can be quantised.
"""

from __future__ import annotations

from typing import Any

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from crossfade_backends.data import FEATURES
from crossfade_backends.onnx_model import INPUT, OUTPUT
from crossfade_backends.registry import Scorer

# Old enough for the runtimes that are on devices.
OPSETS = {"": 17, "ai.onnx.ml": 3}
_AS_PLAIN_OPERATORS = {"LinearClassifier", "Normalizer", "Scaler"}


class ExportError(Exception):
    """The message says why there is no ONNX of it."""


def as_onnx(classifier: Scorer, title: str) -> onnx.ModelProto:
    """Input `features`, float [n, 5]; output `probabilities`, float [n, 2]. 32-bit floats, as devices have them.

    Raises ExportError for an estimator that skl2onnx does not know.
    """
    try:
        converted = to_onnx(
            classifier,
            name=title,  # else a random one, and no two exports are alike
            initial_types=[(INPUT, FloatTensorType([None, len(FEATURES)]))],
            options={"zipmap": False},
            black_op=_AS_PLAIN_OPERATORS,
            target_opset=OPSETS,
        )
    except Exception as error:  # its errors have no base of their own
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"skl2onnx cannot convert it: {reason}") from error
    return _without_label(converted)


def _without_label(model: onnx.ModelProto) -> onnx.ModelProto:
    """A decision is made of the score, where it is known what it costs."""
    needed, kept = {OUTPUT}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    _keep(model.graph.node, kept[::-1])
    _keep(model.graph.initializer, [weight for weight in model.graph.initializer if weight.name in needed])
    _keep(model.graph.output, [output for output in model.graph.output if output.name == OUTPUT])
    return model


def _keep(field: Any, kept: list[Any]) -> None:
    del field[:]
    field.extend(kept)
