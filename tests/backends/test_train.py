"""The quality of the three versions, and the conditions under which they are trained again."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest

from crossfade_backends import edge, train
from crossfade_backends import registry as registry_module
from crossfade_backends.data import AMOUNT, FEATURES, draw_sample
from crossfade_backends.fitting import evaluate
from crossfade_backends.onnx_model import OnnxModel
from crossfade_backends.recipes import RECIPES
from crossfade_backends.registry import METADATA_FILE, MODEL_FILE, load_model, read_metadata
from crossfade_backends.train import DEFAULT_SEED, main, train_registry


def test_v3_beats_v2_and_v2_beats_v4(versions):
    auc = {version: metadata.metrics.auc for version, metadata in versions.items()}
    assert auc["v3"] > auc["v2"] + 0.02
    assert auc["v2"] > auc["v4"] + 0.02
    losses = [versions[version].metrics.log_loss for version in ("v3", "v2", "v4")]
    assert losses == sorted(losses)


def test_v4_is_plausible_although_it_is_wrong(versions):
    assert versions["v4"].metrics.auc > 0.6
    assert versions["v4"].framework == versions["v3"].framework
    assert versions["v4"].features == FEATURES


def test_recorded_metrics_are_confirmed_on_rows_from_another_seed(registry, versions):
    fresh = draw_sample(4_000, 99)
    for version, metadata in versions.items():
        again = evaluate(load_model(registry, metadata), fresh)
        assert again.n == 4_000
        assert again.auc == pytest.approx(metadata.metrics.auc, abs=0.05), version


def test_only_v4_is_trained_on_cents_and_the_sample_is_not_changed():
    sample = draw_sample(20, 1)
    before = sample.features.copy()
    prepared = {recipe.version: recipe.prepare(sample) for recipe in RECIPES}
    assert prepared["v2"] is prepared["v3"] is sample
    assert np.array_equal(prepared["v4"].features[:, AMOUNT], 100 * before[:, AMOUNT])
    others = [column for column in range(5) if column != AMOUNT]
    assert np.array_equal(prepared["v4"].features[:, others], before[:, others])
    assert np.array_equal(sample.features, before)


def test_training_is_deterministic(tmp_path):
    sample = draw_sample(50, 4)
    (first, _), (second, _) = (train_registry(tmp_path / name, 800, 3) for name in ("a", "b"))
    for left, right in zip(first, second, strict=True):
        assert left.metrics == right.metrics
        assert left.training_data_sha256 == right.training_data_sha256
        left_scores, right_scores = [
            load_model(tmp_path / name, metadata).predict_proba(sample.features)
            for name, metadata in (("a", left), ("b", right))
        ]
        assert np.array_equal(left_scores, right_scores)


def test_metadata_on_disk_equals_the_returned_metadata(registry, versions):
    for version, metadata in versions.items():
        assert read_metadata(registry, "churn", version) == metadata
        assert metadata.created.tzinfo is UTC
        assert metadata.framework == registry_module.installed_framework()
        assert metadata.metrics.n == 1_500
    assert versions["v3"].training_data_sha256 == versions["v2"].training_data_sha256
    assert versions["v3"].training_data_sha256 != versions["v4"].training_data_sha256


@pytest.fixture
def registry_copy(tmp_path: Path, registry: Path) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "models"
    shutil.copytree(registry, copy)
    return copy


def run(registry: Path, *more: str) -> int:
    return main(["--registry", str(registry), "--rows", "6000", *more])


def modification_times(root: Path) -> set[int]:
    return {path.stat().st_mtime_ns for path in root.rglob(MODEL_FILE)}


def test_a_current_registry_is_not_written(registry_copy, capsys):
    before = modification_times(registry_copy)
    assert run(registry_copy) == 0
    assert "is current, nothing to do" in capsys.readouterr().out
    assert modification_times(registry_copy) == before


def edit_framework(root: Path) -> None:
    path = root / "churn/v2" / METADATA_FILE
    path.write_text(path.read_text().replace("scikit-learn ", "scikit-learn 0."))


def damage_model(root: Path) -> None:
    (root / "churn/v4" / MODEL_FILE).write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        (edit_framework, []),
        (damage_model, []),
        (lambda root: shutil.rmtree(root / "churn/v3"), []),
        (lambda root: (root / "churn/v3" / METADATA_FILE).write_text("{"), []),
        (lambda root: None, ["--force"]),
        (lambda root: None, ["--seed", str(DEFAULT_SEED + 1)]),
    ],
    ids=["other scikit-learn", "hash differs", "missing", "broken metadata", "forced", "other seed"],
)
def test_a_registry_that_is_not_current_is_trained_again(
    registry_copy, capsys, monkeypatch, change, arguments
):
    change(registry_copy)
    before = modification_times(registry_copy)
    assert run(registry_copy, *arguments) == 0
    assert "trained in" in capsys.readouterr().out
    assert not modification_times(registry_copy) & before
    monkeypatch.setattr(train, "train_version", None)  # would fail if it were called
    assert run(registry_copy, *(argument for argument in arguments if argument != "--force")) == 0


def test_a_registry_of_another_number_of_rows_is_not_current(registry_copy):
    plans = train.plan_versions(draw_sample(4_500, DEFAULT_SEED), 6_000, DEFAULT_SEED)
    assert all(train.current_version(registry_copy, plan) is None for plan in plans)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "10"], "10 is too few"),
        (["--rows", "many"], "--rows"),
        (["--seed", "-1"], "a seed must not be negative"),
    ],
)
def test_invalid_arguments_exit_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_registry_that_cannot_be_written_exits_with_1(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["--registry", str(blocked), "--rows", "400"]) == 1
    assert str(blocked) in capsys.readouterr().err


def test_a_network_is_trained_on_demand_and_registered_as_onnx(tmp_path, capsys):
    root = tmp_path / "models"
    arguments = ("--registry", str(root), "--rows", "400")
    assert main([*arguments]) == 0
    assert not (root / "churn/v5").exists()
    assert main([*arguments, "--network"]) == 0
    metadata = read_metadata(root, "churn", "v5")
    assert metadata.framework.startswith("onnxruntime ")
    assert isinstance(load_model(root, metadata), OnnxModel)
    capsys.readouterr()
    assert main([*arguments, "--network"]) == 0
    assert "is current, nothing to do" in capsys.readouterr().out
    assert edge.main(["quantize", "churn@v5", "--registry", str(root), "--max-changed", "5%"]) == 0
    assert read_metadata(root, "churn", "v5-int8").parameters["made_of"] == "v5"


@pytest.mark.parametrize(
    ("arguments", "absent", "extra"),
    [(["--network"], "skl2onnx", "edge"), ([], "sklearn.ensemble", "models")],
)
def test_an_extra_that_is_not_installed_is_named(tmp_path, capsys, monkeypatch, arguments, absent, extra):
    monkeypatch.setitem(sys.modules, absent, None)
    for module in ("edge_export", "fitting"):
        monkeypatch.delitem(sys.modules, f"crossfade_backends.{module}", raising=False)
    assert main(["--registry", str(tmp_path), "--rows", "400", *arguments]) == 1
    error = capsys.readouterr().err
    assert f"needs {absent}" in error
    assert f"pip install 'crossfade[{extra}]'" in error
