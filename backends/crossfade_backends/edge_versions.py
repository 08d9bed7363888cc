"""Versions that are made of another version, compared with it and registered.

Rule: a version that is too far from the one it was made of is not registered. One that was made of the same file is not made again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import onnx

from crossfade_backends.data import FloatArray, Sample
from crossfade_backends.edge_export import ExportError, as_onnx
from crossfade_backends.edge_parity import Limits, Parity, parity
from crossfade_backends.edge_quantize import quantised
from crossfade_backends.edge_rows import MADE_OF, NUMBERS, held_out_rows, is_of_train
from crossfade_backends.fitting import evaluate
from crossfade_backends.onnx_model import OnnxError, OnnxModel, installed_onnxruntime
from crossfade_backends.profile import PROFILE_FILE, number_field
from crossfade_backends.registry import (
    NAME,
    Metadata,
    RegistryError,
    is_onnx,
    load_model,
    model_path,
    read,
    read_metadata,
    read_model,
    sha256,
    version_directory,
    write_version,
)
from crossfade_backends.scoring import ServedModel, load_served_model

Kind = Literal["onnx", "int8"]
_AS: dict[Kind, str] = {"onnx": "as ONNX", "int8": "with matrices of 8-bit integers"}
_MADE_OF_SHA256 = "made_of_sha256"  # in `parameters`: of the file of that version


class TooFarError(Exception):
    """The message says how far, and what the limits are."""


@dataclass(frozen=True, slots=True)
class Made:
    metadata: Metadata
    parity: Parity
    is_new: bool


def make(
    root: Path, source: Metadata, kind: Kind, version: str, limits: Limits, rows: FloatArray | None
) -> Made:
    """Compared on `rows`, or on those that were held out.

    Raises TooFarError, NothingToQuantiseError or RegistryError."""
    before = load_served_model(root, source.name, source.version)
    held_out = held_out_rows(source)
    compared = held_out.features if rows is None else rows
    if (current := _current(root, source, version)) is not None:
        after = load_served_model(root, source.name, version)
        found = _near_enough(before, after, compared, limits)
        return Made(current, found, is_new=False)
    model, runnable = _converted(root, source, kind)
    metadata = _metadata(source, kind, version, model)
    after = ServedModel(metadata, runnable)
    found = _near_enough(before, after, compared, limits)
    if is_of_train(source):
        metadata = metadata.model_copy(update={"metrics": evaluate(after.classifier, held_out)})
        profile = _profile(root, metadata, source, (held_out, after.score(held_out.features)))
    else:
        profile = _profile(root, metadata, source, None)
    write_version(root, metadata, model, profile)
    return Made(metadata, found, is_new=True)


def _near_enough(before: ServedModel, after: ServedModel, rows: FloatArray, limits: Limits) -> Parity:
    found = parity(before.score(rows), after.score(rows))
    if problems := found.problems(limits):
        title = f"{after.metadata.name}@{after.metadata.version}"
        raise TooFarError(f"{title} is too far from {before.metadata.version}: {'; '.join(problems)}")
    return found


def _current(root: Path, source: Metadata, version: str) -> Metadata | None:
    """What is registered by this name, if it was made of this file. Raises RegistryError if it was not made of a version at all."""
    path = version_directory(root, source.name, version)
    if not path.exists():
        return None
    found = read_metadata(root, source.name, version)
    if MADE_OF not in found.parameters:
        raise RegistryError(path, "exists, and was not made of another version; choose a name with --as")
    try:
        read_model(root, found)
    except RegistryError:
        return None  # damaged
    made_of = (found.parameters[MADE_OF], found.parameters.get(_MADE_OF_SHA256))
    return found if made_of == (source.version, source.model_sha256) else None


def _converted(root: Path, source: Metadata, kind: Kind) -> tuple[bytes, OnnxModel]:
    try:
        if is_onnx(source):
            model = onnx.load_model_from_string(read_model(root, source))
        else:
            model = as_onnx(load_model(root, source), source.name)
        data = (quantised(model) if kind == "int8" else model).SerializeToString()
        return data, OnnxModel(data)
    except (ExportError, OnnxError) as error:
        raise RegistryError(model_path(root, source), str(error)) from error


def _metadata(source: Metadata, kind: Kind, version: str, model: bytes) -> Metadata:
    changed = {
        "version": version,
        "framework": installed_onnxruntime(),
        "created": datetime.now(UTC),
        "parameters": source.parameters
        | {
            MADE_OF: source.version,
            _MADE_OF_SHA256: source.model_sha256,
            NUMBERS: "int8" if kind == "int8" else "float32",
        },
        "model_sha256": sha256(model),
        "description": f"{source.version} {_AS[kind]}",
        "stage": "none",
        "history": (),
        "tags": {},
    }
    return source.model_copy(update=changed)


def _profile(
    root: Path, metadata: Metadata, source: Metadata, scored: tuple[Sample, FloatArray] | None
) -> bytes:
    """The inputs are those of the source. So are the scores, where the rows that were held out are not known."""
    made = json.loads(read(version_directory(root, source.name, source.version) / PROFILE_FILE))
    made |= {"name": f"{metadata.name} {metadata.version}", "created": metadata.created.isoformat()}
    if scored is not None:
        sample, scores = scored
        made |= {"score": number_field(scores), "loss": float(((scores - sample.churned) ** 2).mean())}
    return json.dumps(made).encode() + b"\n"


def named(source: Metadata, kind: Kind) -> str:
    """`v2` → `v2-onnx`, `v2-int8`; `v2-onnx` → `v2-int8`."""
    version = f"{source.version.removesuffix('-onnx')}-{kind}"
    if not NAME.fullmatch(version):
        raise RegistryError(Path(source.version), f"{version} is too long a name; choose one with --as")
    return version
