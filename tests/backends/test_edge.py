"""Versions for devices: made, compared with what they are made of, registered; or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from sklearn.base import BaseEstimator, ClassifierMixin

from crossfade_backends import batch, edge
from crossfade_backends.data import as_request, draw_sample
from crossfade_backends.edge_export import as_onnx
from crossfade_backends.edge_parity import Limits, parity
from crossfade_backends.edge_quantize import NothingToQuantiseError, quantised
from crossfade_backends.edge_rows import held_out_rows
from crossfade_backends.fitting import evaluate, fit
from crossfade_backends.onnx_model import OnnxModel, installed_onnxruntime
from crossfade_backends.recipes import NETWORK
from crossfade_backends.registry import load_model, read_metadata, sha256, write_metadata, write_version
from crossfade_backends.scoring import ServedModel, load_served_model

SAMPLE = draw_sample(2_000, 3)


@pytest.fixture(scope="module")
def network() -> Any:
    return fit(NETWORK, SAMPLE)


@pytest.fixture(scope="module")
def models(network: Any, edge_registry: Path) -> dict[str, OnnxModel]:
    whole = as_onnx(network, "network")
    found = {"network": OnnxModel(whole.SerializeToString())}
    found["network-int8"] = OnnxModel(quantised(whole).SerializeToString())
    for version in ("v2-onnx", "v2-int8", "v3-onnx"):
        loaded = load_model(edge_registry, read_metadata(edge_registry, "churn", version))
        assert isinstance(loaded, OnnxModel)
        found[version] = loaded
    return found


def run(root: Path, *arguments: str) -> int:
    command, *others = arguments
    return edge.main([command, "--registry", str(root), *others])


@given(
    rows=st.lists(st.integers(0, len(SAMPLE.churned) - 1), min_size=1, max_size=40),
    version=st.sampled_from(["network", "network-int8", "v2-onnx", "v2-int8", "v3-onnx"]),
)
def test_a_row_has_the_same_score_alone_and_among_others(
    models: dict[str, OnnxModel], edge_registry: Path, rows: list[int], version: str
) -> None:
    model = ServedModel(read_metadata(edge_registry, "churn", "v2"), models[version])
    together = model.score(SAMPLE.features[rows])
    alone = [model.score(SAMPLE.features[[row]])[0] for row in rows]
    assert together.tolist() == alone


def test_with_the_tool_alone_a_score_depends_on_the_company(network: Any, tmp_path: Path) -> None:
    """Why edge_quantize gives each row its own scale."""
    onnx.save(as_onnx(network, "network"), tmp_path / "whole.onnx")
    quantize_dynamic(tmp_path / "whole.onnx", tmp_path / "int8.onnx")
    model = OnnxModel((tmp_path / "int8.onnx").read_bytes())
    together = model.predict_proba(SAMPLE.features)[:50]
    alone = np.vstack([model.predict_proba(SAMPLE.features[[row]]) for row in range(50)])
    assert (together != alone).any()


def test_a_network_becomes_smaller_and_stays_near(network: Any, models: dict[str, OnnxModel]) -> None:
    whole = as_onnx(network, "network")
    small = quantised(whole)
    before = network.predict_proba(SAMPLE.features)[:, 1]
    assert parity(before, models["network"].predict_proba(SAMPLE.features)[:, 1]).largest < 1e-6
    found = parity(before, models["network-int8"].predict_proba(SAMPLE.features)[:, 1])
    assert 1e-5 < found.largest < 0.05
    assert found.share < 0.02
    matrices = {weight.name: weight.data_type for weight in small.graph.initializer if len(weight.dims) == 2}
    assert sum(kind == onnx.TensorProto.UINT8 for kind in matrices.values()) == 3, matrices
    assert len(small.SerializeToString()) < len(whole.SerializeToString())


WEIGHTS = np.array([[1.0, -1], [0, 2], [3, 0], [0, 0.5], [-0.25, 0]], np.float32)
GEMM = helper.make_node("Gemm", ["features", "w", "b"], ["probabilities"])


def written(*nodes: onnx.NodeProto, opset: int = 17) -> onnx.ModelProto:
    """A model that another tool wrote, with weights `w` and a bias `b`."""
    made = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(WEIGHTS, "w"),
            numpy_helper.from_array(np.array([0.5, -0.5], np.float32), "b"),
            numpy_helper.from_array(np.array([1, 0], np.int64), "middle"),
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
def test_what_other_tools_have_written_is_quantised_too(opset: int) -> None:
    whole = written(GEMM, opset=opset)
    small = quantised(whole)
    assert "MatMulInteger" in {node.op_type for node in small.graph.node}
    rows = np.array([[1.0, 2, 3, 4, 5], [1000, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    exact, rounded = (OnnxModel(m.SerializeToString()).predict_proba(rows) for m in (whole, small))
    assert np.abs(exact - rounded)[[0, 2]].max() < 0.1
    assert np.abs(exact - rounded)[1].max() < 8, "of a thousand"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (written(GEMM, opset=12), "opset 12; 13 or a later one"),
        (
            written(
                helper.make_node("Transpose", ["features"], ["turned"], perm=[1, 0]),
                helper.make_node("MatMul", ["features", "turned"], ["probabilities"]),
            ),
            "no MatMul or Gemm with weights",
        ),
    ],
)
def test_what_cannot_be_quantised_is_said(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(NothingToQuantiseError, match=reason):
        quantised(model)


def register(root: Path, version: str, model: bytes, framework: str) -> None:
    source = read_metadata(root, "churn", "v2")
    changed = {"version": version, "model_sha256": sha256(model), "framework": framework}
    profile = (root / "churn/v2/profile.json").read_bytes()
    write_version(root, source.model_copy(update=changed), model, profile)


def test_a_graph_that_int8_breaks_is_refused(
    edge_registry_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows are those of a matrix; this one multiplies a stack of them."""
    stacked = written(
        helper.make_node("Unsqueeze", ["features", "middle"], ["stack"]),
        helper.make_node("MatMul", ["stack", "w"], ["products"]),
        helper.make_node("Squeeze", ["products"], ["two"]),
        helper.make_node("Sigmoid", ["two"], ["probabilities"]),
    )
    register(edge_registry_copy, "stacked", stacked.SerializeToString(), installed_onnxruntime())
    assert run(edge_registry_copy, "quantize", "churn@stacked") == 1
    assert "stacked/model.onnx: onnxruntime cannot run it" in capsys.readouterr().err


def test_an_estimator_that_is_not_known_is_named(
    edge_registry_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Own(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array([0, 1])

    monkeypatch.setattr("crossfade_backends.edge_versions.load_model", lambda *_: Own())
    assert run(edge_registry_copy, "export", "churn@v2", "--as", "own") == 1
    assert "v2/model.skops: skl2onnx cannot convert it: " in capsys.readouterr().err


def test_rows_of_zeros_and_of_the_largest_values_have_scores(models: dict[str, OnnxModel]) -> None:
    rows = np.array([[0.0] * 5, [1e6, 1e9, 36_525, 1e6, 36_525]])
    for name, model in models.items():
        scores = model.predict_proba(rows)
        assert ((scores >= 0) & (scores <= 1)).all(), name


def test_trees_have_nothing_to_quantise(edge_registry: Path) -> None:
    model = as_onnx(load_model(edge_registry, read_metadata(edge_registry, "churn", "v3")), "v3")
    with pytest.raises(
        NothingToQuantiseError, match=r"no MatMul or Gemm with weights.*TreeEnsembleClassifier"
    ):
        quantised(model)


def test_the_versions_are_registered_with_what_they_are_made_of(edge_registry: Path) -> None:
    made = sorted(path.name for path in (edge_registry / "churn").iterdir())
    assert made == ["v2", "v2-int8", "v2-onnx", "v3", "v3-onnx", "v4", "v4-onnx"]
    source = read_metadata(edge_registry, "churn", "v2")
    for version in ("v2-onnx", "v2-int8"):
        metadata = read_metadata(edge_registry, "churn", version)
        folder = edge_registry / "churn" / version
        assert metadata.framework.startswith("onnxruntime ")
        assert metadata.parameters["made_of"] == "v2"
        assert metadata.parameters["made_of_sha256"] == source.model_sha256
        assert metadata.model_sha256 == sha256((folder / "model.onnx").read_bytes())
        assert not (folder / "model.skops").exists()
        held_out = held_out_rows(source)
        served = load_served_model(edge_registry, "churn", version)
        assert metadata.metrics == evaluate(served.classifier, held_out)
        profile = json.loads((folder / "profile.json").read_text())
        assert profile["name"] == f"churn {version}"
        scores = served.score(held_out.features)
        assert profile["loss"] == pytest.approx(float(((scores - held_out.churned) ** 2).mean()))
        assert (profile["score"]["low"], profile["score"]["high"]) == (scores.min(), scores.max())


def test_the_rows_are_those_that_were_held_out(edge_registry: Path) -> None:
    """Its metrics on them are those that are recorded."""
    metadata = read_metadata(edge_registry, "churn", "v3")
    assert evaluate(load_model(edge_registry, metadata), held_out_rows(metadata)) == metadata.metrics


def test_what_is_current_is_not_made_again_and_what_is_not_is(
    edge_registry_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = edge_registry_copy
    before = read_metadata(root, "churn", "v2-int8")
    assert run(root, "quantize", "churn@v2") == 0
    assert "v2-int8 is current" in capsys.readouterr().out
    assert read_metadata(root, "churn", "v2-int8") == before
    (root / "churn/v2-int8/model.onnx").write_bytes(b"damaged")
    assert run(root, "quantize", "churn@v2") == 0
    assert "v2-int8 made" in capsys.readouterr().out
    again = read_metadata(root, "churn", "v2-int8")
    assert again.model_sha256 == before.model_sha256, "the same file for the same model"
    shutil.copytree(root / "churn/v3", root / "churn/v2", dirs_exist_ok=True)
    other = read_metadata(root, "churn", "v3")
    v2 = root / "churn/v2/metadata.json"
    v2.write_text(v2.read_text().replace('"version": "v3"', '"version": "v2"'))
    assert run(root, "export", "churn@v2") == 0
    assert read_metadata(root, "churn", "v2-onnx").parameters["made_of_sha256"] == other.model_sha256


def test_a_version_that_is_too_far_fails_and_is_not_registered(
    edge_registry_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(edge_registry_copy, "quantize", "churn@v2", "--as", "near", "--max-difference", "0.0001") == 1
    error = capsys.readouterr().err
    assert "churn@near is too far from v2: scores differ by up to" in error
    assert "the limit is 0.0001" in error
    assert not (edge_registry_copy / "churn/near").exists()
    assert run(edge_registry_copy, "quantize", "churn@v2", "--max-difference", "0.0001") == 1
    assert "churn@v2-int8 is too far from v2" in capsys.readouterr().err, "one that is registered already"


def test_an_int8_version_can_be_made_of_an_onnx_version(edge_registry_copy: Path) -> None:
    assert run(edge_registry_copy, "quantize", "churn@v2-onnx", "--as", "small") == 0
    metadata = read_metadata(edge_registry_copy, "churn", "small")
    assert metadata.parameters["made_of"] == "v2-onnx"
    assert metadata.model_sha256 == read_metadata(edge_registry_copy, "churn", "v2-int8").model_sha256


def test_a_version_of_logged_rows_keeps_the_metrics_of_its_source(edge_registry_copy: Path) -> None:
    """The rows that were held out from it are not known any more."""
    source = read_metadata(edge_registry_copy, "churn", "v2")
    parameters = {name: value for name, value in source.parameters.items() if name != "seed"}
    metrics = source.metrics.model_copy(update={"auc": 0.5})
    logged = source.model_copy(
        update={"parameters": parameters, "metrics": metrics, "tags": {"endpoint": "x"}}
    )
    write_metadata(edge_registry_copy, logged)
    assert run(edge_registry_copy, "quantize", "churn@v2", "--as", "small") == 0
    made = read_metadata(edge_registry_copy, "churn", "small")
    assert (made.metrics, made.stage, made.tags, made.history) == (metrics, "none", {}, ())
    profiles = [
        json.loads((edge_registry_copy / f"churn/{v}/profile.json").read_text()) for v in ("v2", "small")
    ]
    assert profiles[0]["score"] == profiles[1]["score"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("export", "churn@v2-onnx"), "v2-onnx is ONNX already"),
        (("quantize", "churn@v3"), "stays as it is"),
        (("quantize", "churn@v2", "--as", "v3"), "v3: exists, and was not made of another version"),
        (("export", "--as", "x"), "one version can be 'x', not 3"),
        (("export", "churn@v9"), "nothing is 'v9'"),
        (("compare", "churn@v3", "churn@v4"), "of the decisions changed; the limit is 1.00%"),
        (("export", "churn@v2", "--rows", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_cannot_be_done_is_said(
    edge_registry: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert run(edge_registry, *arguments) == 1
    said = capsys.readouterr()
    assert reason in said.out + said.err


def test_two_versions_are_compared_on_the_rows_of_a_file(
    edge_registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that the server would refuse is left out."""
    file = tmp_path / "rows.ndjson"
    lines = [json.dumps(as_request(SAMPLE, index)) for index in range(30)]
    file.write_text("\n".join([*lines, '{"customer_id": "bad"}']))
    assert run(edge_registry, "compare", "churn@v2", "churn@v2-onnx", "--rows", str(file)) == 0
    assert "of 30 decisions changed" in capsys.readouterr().out
    assert run(edge_registry, "compare", "churn@v2", "churn@v2-int8", "--max-difference", "0") == 1
    file.write_text('{"customer_id": "bad"}')
    assert run(edge_registry, "compare", "churn@v2", "churn@v2-onnx", "--rows", str(file)) == 1
    assert "has no valid row" in capsys.readouterr().err


def test_an_int8_version_scores_files_as_it_answers(edge_registry: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.ndjson", tmp_path / "out.ndjson"
    source.write_text("".join(json.dumps(as_request(SAMPLE, index)) + "\n" for index in range(20)))
    model = ["--model", "churn@v2-int8", "--registry", str(edge_registry), "--processes", "1", "--chunk", "7"]
    assert batch.main([str(source), str(out), *model]) == 0
    scored = [json.loads(line) for line in out.read_text().splitlines()]
    served = load_served_model(edge_registry, "churn", "v2-int8")
    assert [row["churn_probability"] for row in scored] == served.score(SAMPLE.features[:20]).tolist()
    assert {row["model_version"] for row in scored} == {"v2-int8"}


@pytest.mark.parametrize(
    ("before", "after", "changed", "largest"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9], {}, 0.0),
        ([0.29, 0.5, 0.9], [0.31, 0.5, 0.4], {"low → medium": 1, "high → medium": 1}, 0.5),
    ],
)
def test_parity(before: list[float], after: list[float], changed: dict[str, int], largest: float) -> None:
    found = parity(np.array(before), np.array(after))
    assert (found.rows, found.changed, found.largest) == (3, changed, largest)
    assert found.share == len(changed) / 3


@pytest.mark.parametrize(
    ("after", "limits", "expected"),
    [
        ([0.25, 0.5], Limits(0.0, 0.05), []),
        ([0.25, 0.6], Limits(0.5, 0.1), []),
        ([0.25, 0.6], Limits(0.4, 0.2), ["decisions"]),
        ([0.2, 0.5], Limits(1, 0.04), ["scores"]),
        ([float("nan"), 0.5], Limits(1, 1), ["scores"]),
    ],
)
def test_limits_are_kept_where_they_are_met(after: list[float], limits: Limits, expected: list[str]) -> None:
    problems = parity(np.array([0.25, 0.5]), np.array(after)).problems(limits)
    assert len(problems) == len(expected)
    assert all(word in problem for word, problem in zip(expected, problems, strict=True))


@pytest.mark.parametrize("text", ["2", "-1%", "101%"])
def test_a_share_is_between_nothing_and_all(text: str) -> None:
    with pytest.raises(SystemExit):
        edge.parse(["export", "--max-changed", text])


def test_a_share_can_be_written_in_percent() -> None:
    assert edge.parse(["export", "--max-changed", "2%"]).max_changed == 0.02
