"""Registers a model file that somebody else has trained: checks it, evaluates it, and writes it as a version.

Rule: only formats that run no code when they are read. A pickle is refused unread, for loading it is running it. What the
metadata says of the model is measured here, on the rows that are given: nobody's word is taken for it.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crossfade_backends.data import FEATURES, Sample, fingerprint
from crossfade_backends.onnx_model import OnnxError, OnnxModel, installed_onnxruntime
from crossfade_backends.profile import profile_of
from crossfade_backends.registry import (
    METADATA_FILE,
    Metadata,
    RegistryError,
    Scorer,
    installed_framework,
    read,
    sha256,
    unpack,
    version_directory,
    write_version,
)

LABEL = "churned"
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
_SAFE = "skops (`skops.io.dump(model, FILE)`), or ONNX as FILE.onnx"


@dataclass(frozen=True, slots=True)
class Registration:
    """`train` and `held_out`: CSV files with the columns of FEATURES and `churned` (0 or 1)."""

    name: str
    version: str
    file: Path
    train: Path
    held_out: Path
    author: str = ""
    description: str = ""
    tags: Mapping[str, str] | None = None


def register(root: Path, given: Registration) -> Metadata:
    """A new version in the stage `none`. Raises RegistryError, also for a version that there is: a version never changes."""
    folder = version_directory(root, given.name, given.version)
    if (folder / METADATA_FILE).exists():
        raise RegistryError(folder, "is registered already; a version never changes, so choose another one")
    data = read(given.file)
    model, framework = safely_loaded(given.file, data)
    train, held_out = rows_of(given.train), rows_of(given.held_out)
    # Imports scikit-learn, which takes a second; a file that is refused does not need it.
    from crossfade_backends.fitting import evaluate

    scores = _scores(given.file, model, held_out)
    metadata = Metadata(
        name=given.name,
        version=given.version,
        framework=framework,
        created=datetime.now(UTC),
        features=FEATURES,
        parameters=_parameters(model, train),
        metrics=evaluate(model, held_out),
        training_data_sha256=fingerprint(train),
        model_sha256=sha256(data),
        author=given.author,
        description=given.description,
        tags=dict(given.tags or {}),
    )
    title = f"{metadata.name} {metadata.version}"
    write_version(
        root, metadata, data, profile_of(title, metadata.created, train, held_out, scores), replace=False
    )
    return metadata


def safely_loaded(path: Path, data: bytes) -> tuple[Scorer, str]:
    """The model, and the framework that runs it."""
    if path.suffix == ".onnx":
        try:
            return OnnxModel(data), installed_onnxruntime()
        except OnnxError as error:
            raise RegistryError(path, str(error)) from error
    if path.suffix in _PICKLES or not _is_skops(data):
        what = "a pickle runs code when it is loaded" if path.suffix in _PICKLES else "it is no skops file"
        raise RegistryError(path, f"is not in a safe format ({what}); safe is {_SAFE}")
    return unpack(path, data), installed_framework()


def _is_skops(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "schema.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _scores(path: Path, model: Scorer, held_out: Sample) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of the held-out rows. Raises RegistryError for what does not give two probabilities for each row of five features."""
    try:
        found = np.asarray(model.predict_proba(held_out.features))
    except (AttributeError, ValueError, TypeError) as error:
        raise RegistryError(path, f"does not score {len(FEATURES)} features: {error}") from error
    if found.shape != (len(held_out.churned), 2) or not np.all((found >= 0) & (found <= 1)):
        raise RegistryError(path, f"does not give the probabilities of two classes (shape {found.shape})")
    return found[:, 1]


def _parameters(model: Scorer, train: Sample) -> dict[str, str | bool | int | float]:
    """Those of its own that are plain values; a pipeline has them by step."""
    get = getattr(model, "get_params", dict)
    plain = {
        str(name): value
        for name, value in get().items()
        if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
    }
    return {"rows": len(train.churned), "estimator": type(model).__name__, **plain}


def rows_of(path: Path) -> Sample:
    """Raises RegistryError with file, line and column for what is no number, or no label, or for rows of one class."""
    text = read(path).decode("utf-8-sig", errors="replace")  # spreadsheets write a mark before the first name
    rows = csv.DictReader(io.StringIO(text))
    wanted = (*FEATURES, LABEL)
    try:
        if missing := [name for name in wanted if name not in (rows.fieldnames or ())]:
            raise RegistryError(path, f"line 1: has no column {', '.join(missing)}")
        numbers = [[_number(path, rows.line_num, name, row[name]) for name in wanted] for row in rows]
    except csv.Error as error:
        raise RegistryError(path, f"behind line {rows.line_num}: {error}; is a quote not closed?") from None
    labels = {row[-1] for row in numbers}
    if labels != {0.0, 1.0}:
        raise RegistryError(path, f"column {LABEL}: must have both 0 and 1, and nothing else")
    values = np.array(numbers, dtype=np.float64)
    return Sample(values[:, :-1], values[:, -1].astype(np.int8))


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RegistryError(path, f"line {line}, column {column}: {text!r} is not a number")
    return value
