"""The model registry: `ROOT/<name>/<version>/model.skops` or `model.onnx`, with `metadata.json` and `profile.json` beside it.

Rule: a version is written atomically. A model is loaded only if its SHA-256 matches and all its
types are in _TRUSTED_TYPES: a model file is untrusted data, and skops, unlike pickle, lists the types
before it loads them. An ONNX file has no types and no code. Every error names the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from datetime import UTC
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from crossfade_backends.data import FloatArray
from crossfade_backends.onnx_model import ONNX_FILE, ONNX_FRAMEWORK, OnnxError, OnnxModel
from crossfade_backends.profile import PROFILE_FILE

MODEL_FILE = "model.skops"
METADATA_FILE = "metadata.json"

# The types in a gradient boosting model: the node table of each tree, and the loss. Newer versions
# of skops trust the loss by default; the oldest supported version does not.
_TRUSTED_TYPES = (
    "sklearn.tree._tree.Tree",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.Interval",
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Scorer(Protocol):
    def predict_proba(self, features: FloatArray, /) -> FloatArray: ...


class Classifier(Scorer, Protocol):
    def fit(self, features: FloatArray, labels: Any, /) -> Any: ...


class RegistryError(Exception):
    """The message names the file or directory and the problem."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)  # so that it can come from another process

    def __str__(self) -> str:
        path, problem = self.args
        return f"{path}: {problem}"


class Metrics(BaseModel):
    """On held-out rows. `auc` is the area under the ROC curve; lower is better for `log_loss` and `brier`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc: float
    log_loss: float
    brier: float
    accuracy: float
    n: int


# The timezone object of pydantic can crash CPython 3.11 if it still exists when the process exits.
UtcTime = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


# How far a version has come; `stages` moves it.
Stage = Literal["none", "staging", "production", "archived"]
# What MODEL@WORD means something else by than a version.
_WORDS = (*get_args(Stage), "latest")


class StageChange(BaseModel):
    """`by`: a user of the machine, or `crossfade` for what the proxy has decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    at: UtcTime
    by: str = ""


class Signature(BaseModel):
    """What the model takes and gives: names and types, as the Open Inference Protocol writes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, str]
    outputs: dict[str, str]


def signature_of(features: Sequence[str]) -> Signature:
    return Signature(inputs=dict.fromkeys(features, "FP64"), outputs={"churn_probability": "FP64"})


class Metadata(BaseModel):
    """`tags`: such as the endpoint where the version is served, and the order that it was trained for.

    `history`: the stages that it has had after `none`, the first one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    framework: str
    created: UtcTime
    features: tuple[str, ...]
    parameters: dict[str, str | bool | int | float]
    metrics: Metrics
    training_data_sha256: str
    model_sha256: str
    author: str = ""
    description: str = ""
    signature: Signature = Field(default_factory=lambda data: signature_of(data.get("features", ())))
    stage: Stage = "none"
    history: tuple[StageChange, ...] = ()
    tags: dict[str, str] = {}


def installed_framework() -> str:
    return f"scikit-learn {installed_version('scikit-learn')}"


def serialise(classifier: Classifier) -> bytes:
    # skops imports scikit-learn, so it is imported only to read or write a model.
    from skops import io as skops_io

    data: bytes = skops_io.dumps(classifier, compression=zipfile.ZIP_DEFLATED)
    return data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_version(root: Path, metadata: Metadata, model: bytes, profile: bytes, replace: bool = True) -> Path:
    """Writes to a temporary directory and renames it; returns the directory of the version.

    Raises RegistryError for a version called as a stage, and without `replace` for one that is there.
    """
    target = version_directory(root, metadata.name, metadata.version)
    if metadata.version in _WORDS:
        raise RegistryError(
            target, f"{metadata.version!r} is what versions are found by; choose another name"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{metadata.version}-", dir=target.parent))
    try:
        staged.chmod(0o755)
        write_durably(staged / model_file(metadata), model)
        write_durably(staged / PROFILE_FILE, profile)
        write_durably(staged / METADATA_FILE, metadata.model_dump_json(indent=2).encode() + b"\n")
        _swap(staged, target, replace)
    finally:
        # After a successful rename there is nothing to remove.
        shutil.rmtree(staged, ignore_errors=True)
    return target


def is_onnx(metadata: Metadata) -> bool:
    return metadata.framework.partition(" ")[0] == ONNX_FRAMEWORK


def model_file(metadata: Metadata) -> str:
    return ONNX_FILE if is_onnx(metadata) else MODEL_FILE


def model_path(root: Path, metadata: Metadata) -> Path:
    return version_directory(root, metadata.name, metadata.version) / model_file(metadata)


def write_metadata(root: Path, metadata: Metadata) -> None:
    """Replaces the metadata of a version; a reader gets the old or the new."""
    path = version_directory(root, metadata.name, metadata.version) / METADATA_FILE
    write_whole(path, metadata.model_dump_json(indent=2).encode() + b"\n")


def versions_of(root: Path, name: str) -> list[Metadata]:
    """All versions, the oldest first. Raises RegistryError for one that cannot be read."""
    folders = sorted((root / name).glob(f"*/{METADATA_FILE}"))
    found = [read_metadata(root, name, path.parent.name) for path in folders if path.parent.name[0] != "."]
    return sorted(found, key=lambda metadata: metadata.created)


def write_whole(path: Path, data: bytes) -> None:
    """Replaces the file: a reader gets the old or the new one, and a crash leaves one of them."""
    # A name of its own: the proxy may promote a version while somebody writes its metadata.
    staged = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        write_durably(staged, data)
        staged.replace(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise


def write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _swap(staged: Path, target: Path, replace: bool) -> None:
    if not replace:
        try:
            staged.rename(target)
        except OSError:
            # rename() does not replace a directory that has files, so whoever comes second is refused.
            if not target.exists():
                raise
            raise RegistryError(
                target, "is registered already; a version never changes, so choose another one"
            ) from None
    elif target.exists():
        # rename() fails if the target directory is not empty, so the old one is renamed first.
        retired = staged.with_name(f"{staged.name}.retired")
        target.rename(retired)
        staged.rename(target)
        shutil.rmtree(retired)
    else:
        staged.rename(target)


def version_directory(root: Path, name: str, version: str) -> Path:
    for part in (name, version):
        if not NAME.fullmatch(part):
            raise RegistryError(root, f"{part!r} is not a valid model name or version ({NAME.pattern})")
    return root / name / version


def read_metadata(root: Path, name: str, version: str) -> Metadata:
    path = version_directory(root, name, version) / METADATA_FILE
    try:
        metadata = Metadata.model_validate_json(read(path))
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise RegistryError(path, f"{where}: {first['msg']}") from None
    if (metadata.name, metadata.version) != (name, version):
        raise RegistryError(path, f"describes {metadata.name} {metadata.version}, not {name} {version}")
    return metadata


def read_model(root: Path, metadata: Metadata) -> bytes:
    """The bytes of the model file. Raises RegistryError if their hash differs from the recorded one."""
    path = model_path(root, metadata)
    data = read(path)
    if (found := sha256(data)) != metadata.model_sha256:
        raise RegistryError(
            path, f"SHA-256 is {found}, {METADATA_FILE} says {metadata.model_sha256}; not loaded"
        )
    return data


def load_model(root: Path, metadata: Metadata) -> Scorer:
    """An ONNX file needs onnxruntime alone, of any version that knows its operators."""
    path = model_path(root, metadata)
    data = read_model(root, metadata)
    if is_onnx(metadata):
        try:
            return OnnxModel(data)
        except OnnxError as error:
            raise RegistryError(path, str(error)) from error
    return _load_classifier(path, data, metadata.framework)


def _load_classifier(path: Path, data: bytes, framework: str) -> Classifier:
    try:
        installed = installed_framework()
    except PackageNotFoundError:
        raise RegistryError(path, f"needs {framework}: pip install 'crossfade[models]'") from None
    # scikit-learn does not support models of another version: they may fail or give wrong results.
    if framework != installed:
        raise RegistryError(path, f"was made with {framework}, but {installed} is installed; train it again")
    return unpack(path, data)


def unpack(path: Path, data: bytes) -> Classifier:
    """`path`: for the errors. Raises RegistryError for what is no model of the trusted types."""
    from skops import io as skops_io

    try:
        untrusted = sorted(set(skops_io.get_untrusted_types(data=data)) - set(_TRUSTED_TYPES))
        if untrusted:
            raise RegistryError(
                path, f"contains types that are not trusted: {', '.join(untrusted)}; not loaded"
            )
        classifier: Classifier = skops_io.loads(data, trusted=list(_TRUSTED_TYPES))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as broken:
        raise RegistryError(path, f"is not a skops model: {broken}") from broken
    return classifier


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RegistryError(path, "does not exist; `python -m crossfade_backends.train` creates it") from None
    except OSError as unreadable:
        raise RegistryError(path, f"cannot be read: {unreadable.strerror}") from unreadable
