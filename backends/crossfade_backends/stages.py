"""The stages of a version: none → staging → production → archived. `python -m crossfade_backends.stages` shows and moves them.

Rule: at most one version is in production. Another one that gets there archives it; a version that was archived can come back.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from crossfade_backends.locks import locked_folder
from crossfade_backends.recipes import MODEL_NAME
from crossfade_backends.registry import (
    NAME,
    Metadata,
    RegistryError,
    Stage,
    StageChange,
    read_metadata,
    version_directory,
    versions_of,
    write_metadata,
)
from crossfade_backends.train import DEFAULT_REGISTRY

NEXT: dict[Stage, tuple[Stage, ...]] = {
    "none": ("staging", "archived"),
    "staging": ("production", "archived"),
    "production": ("archived",),
    "archived": ("production",),
}


def in_stage(metadata: Metadata, stage: Stage, by: str) -> Metadata:
    """The metadata with another stage, and one more row of its history."""
    change = StageChange(stage=stage, at=datetime.now(UTC), by=by)
    return metadata.model_copy(update={"stage": stage, "history": (*metadata.history, change)})


def move(root: Path, name: str, version: str, stage: Stage, by: str = "") -> Metadata:
    """To the stage that it has already: changes nothing. Raises RegistryError for a move that is not in NEXT."""
    with _alone(root, name, version) as metadata:
        return _move(root, metadata, stage, by)


@contextmanager
def _alone(root: Path, name: str, version: str) -> Iterator[Metadata]:
    """Nobody else moves or tags versions of the model meanwhile, and the proxy promotes none. Raises RegistryError where it is none."""
    read_metadata(root, name, version)  # there is a folder to be locked
    with locked_folder(root / name):
        yield read_metadata(root, name, version)


def _move(root: Path, metadata: Metadata, stage: Stage, by: str) -> Metadata:
    if metadata.stage == stage:
        return metadata
    if stage not in NEXT[metadata.stage]:
        allowed = " or ".join(NEXT[metadata.stage])
        path = version_directory(root, metadata.name, metadata.version)
        raise RegistryError(
            path, f"is in the stage {metadata.stage}, which is followed by {allowed}, not by {stage}"
        )
    if stage == "production":
        for other in versions_of(root, metadata.name):
            if other.stage == "production":
                write_metadata(root, in_stage(other, "archived", by))
    moved = in_stage(metadata, stage, by)
    write_metadata(root, moved)
    return moved


def named_version(root: Path, text: str) -> Metadata:
    """Of `churn@v3`, `churn@production`, or `churn@latest`: a version, a stage (the newest that is in it), or the newest."""
    name, _, which = text.partition("@")
    known = versions_of(root, name) if NAME.fullmatch(name) else []
    if not known:
        raise RegistryError(
            root, f"has no model {name!r}; `python -m crossfade_backends.train` makes {MODEL_NAME!r}"
        )
    chosen = [metadata for metadata in known if which in (metadata.version, metadata.stage, "latest")]
    if not chosen:
        has = ", ".join(f"{metadata.version} ({metadata.stage})" for metadata in known)
        raise RegistryError(
            root / name, f"nothing is {which!r}: a version, a stage or latest; there are {has}"
        )
    return chosen[-1]


def user() -> str:
    """Who runs this command; "" where the machine has no name for them, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def tag(root: Path, name: str, version: str, **tags: str) -> Metadata:
    """Adds tags, or replaces them."""
    with _alone(root, name, version) as metadata:
        tagged = metadata.model_copy(update={"tags": metadata.tags | tags})
        write_metadata(root, tagged)
        return tagged


def _line(metadata: Metadata) -> str:
    tags = " ".join(f"{name}={value}" for name, value in sorted(metadata.tags.items()))
    return f"{metadata.name} {metadata.version}  {metadata.stage}  auc {metadata.metrics.auc:.4f}  {tags}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.stages", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("version", nargs="?", metavar="VERSION", help="the version to move")
    parser.add_argument(
        "stage", nargs="?", choices=get_args(Stage), metavar="STAGE", help=", ".join(get_args(Stage))
    )
    parser.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    parser.add_argument("--model", default=MODEL_NAME)
    options = parser.parse_args(arguments)
    if options.version and not options.stage:
        parser.error("a version needs a stage")
    try:
        if options.version:
            move(options.registry, options.model, options.version, options.stage, user())
        for metadata in versions_of(options.registry, options.model):
            print(_line(metadata))
    except (RegistryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
