"""The registry reads what it wrote, and refuses files that were changed or contain untrusted types."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer

from crossfade.config.registry import RegisteredVersion
from crossfade.control.registries import FolderRegistry
from crossfade_backends import registry as module
from crossfade_backends.data import FEATURES, draw_sample
from crossfade_backends.fitting import fit
from crossfade_backends.profile import PROFILE_FILE
from crossfade_backends.recipes import RECIPES
from crossfade_backends.registry import (
    METADATA_FILE,
    MODEL_FILE,
    Metadata,
    Metrics,
    RegistryError,
    load_model,
    read_metadata,
    serialise,
    sha256,
    write_metadata,
    write_version,
    write_whole,
)
from crossfade_backends.scoring import load_served_model

PROFILE = b"{}"


@pytest.fixture
def registry_copy(tmp_path: Path, registry: Path) -> Path:
    root = tmp_path / "models"
    shutil.copytree(registry, root)
    return root


def metadata_of(model: bytes, **changes: Any) -> Metadata:
    fields = {
        "name": "churn",
        "version": "v9",
        "framework": module.installed_framework(),
        "created": "2024-06-01T00:00:00Z",
        "features": list(FEATURES),
        "parameters": {"rows": 3, "rate": 0.5, "cents": True, "kind": "x"},
        "metrics": Metrics(auc=0.7, log_loss=0.5, brier=0.2, accuracy=0.8, n=9),
        "training_data_sha256": "0" * 64,
        "model_sha256": sha256(model),
    }
    return Metadata.model_validate(fields | changes)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.version)
def test_a_written_version_is_read_and_scores_the_same(tmp_path, recipe):
    sample = draw_sample(600, 1)
    classifier = fit(recipe, sample)
    model = serialise(classifier)
    metadata = metadata_of(model)
    assert write_version(tmp_path, metadata, model, PROFILE) == tmp_path / "churn/v9"
    assert read_metadata(tmp_path, "churn", "v9") == metadata
    loaded = load_model(tmp_path, metadata)
    assert np.array_equal(loaded.predict_proba(sample.features), classifier.predict_proba(sample.features))


def test_overwriting_a_version_leaves_only_the_new_files(tmp_path):
    for model in (b"one", b"two"):
        write_version(tmp_path, metadata_of(model), model, PROFILE)
    assert (tmp_path / "churn/v9" / MODEL_FILE).read_bytes() == b"two"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "churn", METADATA_FILE, MODEL_FILE, PROFILE_FILE, "v9",
    ]  # fmt: skip


def test_a_version_that_is_there_is_kept_where_none_may_be_replaced(tmp_path):
    write_version(tmp_path, metadata_of(b"one"), b"one", PROFILE, replace=False)
    with pytest.raises(RegistryError, match="is registered already"):
        write_version(tmp_path, metadata_of(b"two"), b"two", PROFILE, replace=False)
    assert (tmp_path / "churn/v9" / MODEL_FILE).read_bytes() == b"one"
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["v9"]


@pytest.mark.parametrize("word", ["latest", "none", "staging", "production", "archived"])
def test_no_version_is_called_as_a_stage(tmp_path, word):
    with pytest.raises(RegistryError, match="choose another name"):
        write_version(tmp_path, metadata_of(b"one", version=word), b"one", PROFILE)
    assert not list(tmp_path.iterdir())


def test_metadata_that_two_write_at_once_is_whole(tmp_path, monkeypatch):
    """The proxy promotes while somebody moves or tags: each has a file of its own until it is whole."""
    metadata = metadata_of(b"one")
    folder = write_version(tmp_path, metadata, b"one", PROFILE)
    write, inner = module.write_durably, FolderRegistry(tmp_path)

    def promoted_meanwhile(path: Path, data: bytes) -> None:
        write(path, data)
        with ThreadPoolExecutor(1) as proxy:
            proxy.submit(asyncio.run, inner.put_in_charge(RegisteredVersion("churn", "v9"))).result()
        assert read_metadata(tmp_path, "churn", "v9").stage == "production"

    monkeypatch.setattr(module, "write_durably", promoted_meanwhile)
    write_metadata(tmp_path, metadata.model_copy(update={"author": "ann"}))
    assert read_metadata(tmp_path, "churn", "v9").author == "ann"
    assert sorted(path.name for path in folder.iterdir()) == [METADATA_FILE, MODEL_FILE, PROFILE_FILE]


def test_a_failed_write_leaves_the_old_version(tmp_path, monkeypatch):
    write_version(tmp_path, metadata_of(b"old"), b"old", PROFILE)
    write = module.write_durably

    def fail_on_metadata(path: Path, data: bytes) -> None:
        if path.name == METADATA_FILE:
            raise OSError("disk full")
        write(path, data)

    monkeypatch.setattr(module, "write_durably", fail_on_metadata)
    with pytest.raises(OSError, match="disk full"):
        write_version(tmp_path, metadata_of(b"new"), b"new", PROFILE)
    assert module.read_model(tmp_path, read_metadata(tmp_path, "churn", "v9")) == b"old"
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["v9"]


def test_a_model_with_one_changed_bit_is_refused(registry_copy):
    path = registry_copy / "churn/v3" / MODEL_FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RegistryError, match=rf"{MODEL_FILE}: SHA-256 is .* not loaded") as refused:
        load_served_model(registry_copy, "churn", "v3")
    assert str(path) in str(refused.value)


def change_metadata(root: Path, **changes: Any) -> None:
    path = root / "churn/v3" / METADATA_FILE
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_sha256": "0" * 64}, f"{MODEL_FILE}: SHA-256"),
        ({"model_sha256": None}, f"{METADATA_FILE}: model_sha256: Field required"),
        ({"metrics": {"auc": 1}}, f"{METADATA_FILE}: metrics.log_loss: Field required"),
        ({"created": "yesterday"}, f"{METADATA_FILE}: created:"),
        ({"more": 1}, f"{METADATA_FILE}: more: Extra inputs"),
        ({"version": "v2"}, f"{METADATA_FILE}: describes churn v2, not churn v3"),
        (
            {"framework": "scikit-learn 0.1"},
            "was made with scikit-learn 0.1, but .* is installed; train it again",
        ),
        ({"features": ["a", "b"]}, f"{METADATA_FILE}: features are"),
    ],
)
def test_metadata_that_does_not_match_is_refused(registry_copy, changes, message):
    change_metadata(registry_copy, **changes)
    with pytest.raises(RegistryError, match=message) as refused:
        load_served_model(registry_copy, "churn", "v3")
    assert str(registry_copy / "churn/v3") in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_metadata_that_is_not_json_is_refused(registry_copy, text):
    (registry_copy / "churn/v3" / METADATA_FILE).write_text(text)
    with pytest.raises(RegistryError, match=METADATA_FILE):
        read_metadata(registry_copy, "churn", "v3")


def test_untrusted_types_are_named_and_not_loaded(tmp_path):
    model = serialise(FunctionTransformer(os.getcwd))
    metadata = metadata_of(model)
    write_version(tmp_path, metadata, model, PROFILE)
    with pytest.raises(RegistryError, match=rf"{MODEL_FILE}: contains types .* not trusted: posix.getcwd"):
        load_model(tmp_path, metadata)


@pytest.mark.parametrize(
    "model", [b"", b"junk", b"PK\x05\x06" + bytes(18)], ids=["empty", "junk", "empty zip"]
)
def test_a_file_that_is_no_skops_model_is_refused(tmp_path, model):
    metadata = metadata_of(model)
    write_version(tmp_path, metadata, model, PROFILE)
    with pytest.raises(RegistryError, match=f"{MODEL_FILE}: is not a skops model"):
        load_model(tmp_path, metadata)


def test_the_error_for_a_missing_file_names_the_command_that_creates_it(registry_copy):
    with pytest.raises(
        RegistryError, match=rf"v7/{METADATA_FILE}: does not exist; `python -m crossfade_backends.train`"
    ):
        read_metadata(registry_copy, "churn", "v7")
    (registry_copy / "churn/v2" / MODEL_FILE).unlink()
    with pytest.raises(RegistryError, match=rf"v2/{MODEL_FILE}: does not exist"):
        load_served_model(registry_copy, "churn", "v2")


def test_a_directory_in_place_of_metadata_is_refused(registry_copy):
    path = registry_copy / "churn/v2" / METADATA_FILE
    path.unlink()
    path.mkdir()
    with pytest.raises(RegistryError, match="cannot be read"):
        read_metadata(registry_copy, "churn", "v2")


@pytest.mark.parametrize("name", ["", ".", "..", "../churn", "a/b", "/etc", "-v", "v" * 65, "v2\n"])
def test_names_that_are_paths_are_refused(registry, name):
    for pair in ((name, "v2"), ("churn", name)):
        with pytest.raises(RegistryError, match="not a valid model name or version"):
            read_metadata(registry, *pair)


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that is trained again, the end of an order, and what a deployment wants are written so."""
    path = tmp_path / "model.skops"
    write_whole(path, b"old")
    write = module.write_durably

    def full(staged: Path, data: bytes) -> None:
        write(staged, data[:1])
        assert path.read_bytes() == b"old"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_durably", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.skops"]
    monkeypatch.undo()
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["model.skops"]
