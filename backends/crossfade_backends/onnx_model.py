"""A model as an ONNX file, run by onnxruntime alone: nothing of scikit-learn is needed.

The file has one input, `features` [n, 5] of floats in the order of FEATURES, and one output, `probabilities` [n, 2].
"""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version

import numpy as np

from crossfade_backends.data import FEATURES, FloatArray

ONNX_FILE = "model.onnx"
ONNX_FRAMEWORK = "onnxruntime"
INPUT = "features"
OUTPUT = "probabilities"

# A file may name others to read weights from. Their SHA-256 would not be checked, so they are looked for where nothing is.
_ELSEWHERE = "session.model_external_initializers_file_folder_path"


class OnnxError(Exception):
    """The message says why the file cannot be run; it does not name it."""


def installed_onnxruntime() -> str:
    return f"{ONNX_FRAMEWORK} {installed_version(ONNX_FRAMEWORK)}"


class OnnxModel:
    """Raises OnnxError where onnxruntime is not installed, or the file is no such model."""

    def __init__(self, data: bytes) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise OnnxError("needs onnxruntime: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        # One thread adds up in one order, so that a row has the same score, bit for bit, alone and among others.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised too
        options.add_session_config_entry(_ELSEWHERE, os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as broken:  # the errors of onnxruntime have no base of their own
            raise OnnxError(f"onnxruntime cannot run it: {broken}") from broken
        found = [(port.name, port.type, port.shape[1:]) for port in self._session.get_inputs()]
        if found != [(INPUT, "tensor(float)", [len(FEATURES)])]:
            raise OnnxError(f"its input must be {INPUT}, float [n, {len(FEATURES)}], not {found}")
        if OUTPUT not in (names := [port.name for port in self._session.get_outputs()]):
            raise OnnxError(f"its output must be {OUTPUT}, not {names}")
        try:
            shape = self.predict_proba(np.zeros((2, len(FEATURES)))).shape
        except Exception as broken:
            raise OnnxError(f"onnxruntime cannot run it: {broken}") from broken
        if shape != (2, 2):
            raise OnnxError(f"its output for two rows is {list(shape)}, not [2, 2]")

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """(n, 5) to (n, 2): the probabilities of staying and of churn."""
        probabilities = self._session.run([OUTPUT], {INPUT: features.astype(np.float32)})[0]
        return np.asarray(probabilities, dtype=np.float64)
