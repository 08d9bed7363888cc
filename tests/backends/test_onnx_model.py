"""ONNX files that are no such model are refused with the reason; the others need onnxruntime alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from crossfade_backends import onnx_model
from crossfade_backends.inference import describe_model
from crossfade_backends.onnx_model import OnnxError, OnnxModel
from crossfade_backends.registry import RegistryError, load_model, read_metadata
from crossfade_backends.scoring import load_served_model

FLOAT = TensorProto.FLOAT


def graph(
    output: str = "probabilities", width: Any = 5, kind: int = FLOAT, more: tuple[TensorProto, ...] = ()
) -> bytes:
    """Two of the five columns as probabilities."""
    columns = helper.make_tensor("columns", TensorProto.INT64, [2], [0, 1])
    nodes = [
        helper.make_node("Cast", ["features"], ["floats"], to=FLOAT),
        helper.make_node("Gather", ["floats", "columns"], ["two"], axis=1),
        helper.make_node("Add", ["two", more[0].name], [output])
        if more
        else helper.make_node("Identity", ["two"], [output]),
    ]
    inputs = [helper.make_tensor_value_info("features", kind, ["n", width])]
    outputs = [helper.make_tensor_value_info(output, FLOAT, None)]
    made = helper.make_graph(nodes, "g", inputs, outputs, [columns, *more])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def wide() -> bytes:
    model = onnx.load_model_from_string(graph())
    model.graph.initializer[0].CopyFrom(helper.make_tensor("columns", TensorProto.INT64, [3], [0, 1, 2]))
    return bytes(model.SerializeToString())


def of_a_file(name: str) -> TensorProto:
    weights = TensorProto(name="secret", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=name)
    return weights


def test_columns_come_out_as_they_go_in() -> None:
    rows = np.arange(15.0).reshape(3, 5)
    assert OnnxModel(graph()).predict_proba(rows).tolist() == [[0, 1], [5, 6], [10, 11]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "No graph"),
        (b"no model", "protobuf"),
        (graph(width=4), r"input must be features, float \[n, 5\], not .*4"),
        (graph(kind=TensorProto.DOUBLE), "input must be features, .*double"),
        (graph(output="label"), r"output must be probabilities, not \['label'\]"),
        (wide(), r"its output for two rows is \[2, 3\]"),
    ],
)
def test_another_model_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(OnnxError, match=reason):
        OnnxModel(data)


@pytest.mark.parametrize("name", ["secret.bin", "../secret.bin", "/etc/hostname"])
def test_a_model_reads_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its own hash is checked, that of another file is not."""
    here = tmp_path / "here"
    here.mkdir()
    for folder in (here, tmp_path):
        (folder / "secret.bin").write_bytes(b"12345678")
    monkeypatch.chdir(here)
    with pytest.raises(OnnxError, match="xternal data"):
        OnnxModel(graph(more=(of_a_file(name),)))


def test_without_onnxruntime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxError, match="pip install onnxruntime"):
        OnnxModel(graph())


def test_a_version_is_served_where_scikit_learn_is_not_installed(edge_registry: Path) -> None:
    """Nor what converts and quantises; a version of scikit-learn says what it needs."""
    program = f"""
import sys
from importlib import metadata
from pathlib import Path
for name in ("sklearn", "skops", "scipy", "joblib", "onnx", "skl2onnx"):
    sys.modules[name] = None
found = metadata.version
def version(name):
    if name == "scikit-learn":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
import numpy
import crossfade_backends.server
from crossfade_backends.scoring import load_served_model
root = Path({str(edge_registry)!r})
for wanted in ("v2-onnx", "v2-int8", "v3-onnx"):
    print(load_served_model(root, "churn", wanted).score(numpy.ones((1, 5))).tolist())
try:
    load_served_model(root, "churn", "v2")
except Exception as error:
    print(error)
"""
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, timeout=200)
    *scores, refused = done.stdout.splitlines()
    assert len(scores) == 3, done.stderr
    assert "needs scikit-learn" in refused
    assert "pip install 'crossfade[models]'" in refused


def test_the_hash_and_the_file_are_named(edge_registry_copy: Path) -> None:
    path = edge_registry_copy / "churn/v2-int8" / onnx_model.ONNX_FILE
    metadata = read_metadata(edge_registry_copy, "churn", "v2-int8")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(RegistryError, match=r"v2-int8/model\.onnx: SHA-256 is .* not loaded"):
        load_model(edge_registry_copy, metadata)


@pytest.mark.parametrize(("version", "platform"), [("v2", "sklearn_skops"), ("v2-int8", "onnxruntime_onnx")])
def test_the_platform_of_a_version_is_told(edge_registry: Path, version: str, platform: str) -> None:
    assert describe_model(load_served_model(edge_registry, "churn", version))["platform"] == platform
