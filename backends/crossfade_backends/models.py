"""The models of a registry, and where they run: `python -m crossfade_backends.models WORD`.

Rule: a version is named MODEL@VERSION, MODEL@STAGE or MODEL@latest. Exit codes: 0 done, 1 an error, 2 a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from crossfade_backends.admin_client import ProxyError
from crossfade_backends.deploying import DeployError
from crossfade_backends.deployment_words import add_words, table
from crossfade_backends.kubernetes import KubernetesError
from crossfade_backends.registering import Registration, register
from crossfade_backends.registry import Metadata, RegistryError, Stage, versions_of
from crossfade_backends.routing_file import EditError
from crossfade_backends.stages import move, named_version, user
from crossfade_backends.train import DEFAULT_REGISTRY

_COLUMNS = ("model", "version", "stage", "auc", "framework", "created", "author")


def models_of(root: Path) -> list[str]:
    """The names of all models; folders that begin with a dot are the registry's own."""
    return sorted({path.parent.parent.name for path in root.glob("[!.]*/[!.]*/metadata.json")})


def _row(metadata: Metadata) -> tuple[str, ...]:
    auc, created = f"{metadata.metrics.auc:.4f}", f"{metadata.created:%Y-%m-%d %H:%M}"
    return (
        metadata.name,
        metadata.version,
        metadata.stage,
        auc,
        metadata.framework,
        created,
        metadata.author or "-",
    )


def _list(options: argparse.Namespace) -> None:
    names = [options.model] if options.model else models_of(options.registry)
    found = [metadata for name in names for metadata in versions_of(options.registry, name)]
    if options.json:
        print(json.dumps([metadata.model_dump(mode="json") for metadata in found]))
    elif not found:
        raise RegistryError(
            options.registry, "has no such model; `python -m crossfade_backends.train` makes churn"
        )
    else:
        print(table(_COLUMNS, [_row(metadata) for metadata in found]))


def _show(options: argparse.Namespace) -> None:
    metadata = named_version(options.registry, options.which)
    if options.json:
        print(metadata.model_dump_json())
        return
    said = metadata.model_dump(mode="json", exclude={"history"})
    for key, value in said.items():
        for name, one in [(key, value)] if not isinstance(value, dict) else _nested(key, value):
            print(f"{name:<28} {', '.join(one) if isinstance(one, list) else one}")
    for change in metadata.history:
        print(f"{'history':<28} {change.at:%Y-%m-%d %H:%M:%S}  {change.stage}  {change.by}".rstrip())


def _nested(key: str, value: dict[str, object]) -> list[tuple[str, object]]:
    return [(f"{key}.{name}", _nested_text(one)) for name, one in value.items()]


def _nested_text(value: object) -> object:
    return ", ".join(f"{name} {kind}" for name, kind in value.items()) if isinstance(value, dict) else value


def _register(options: argparse.Namespace) -> None:
    name, _, version = options.which.partition("@")
    tags = dict(each.partition("=")[::2] for each in options.tag)
    given = Registration(
        name,
        version,
        options.file,
        options.training_data,
        options.held_out,
        options.author or user(),
        options.description,
        tags,
    )
    metadata = register(options.registry, given)
    print(
        f"registered {metadata.name}@{metadata.version}: auc {metadata.metrics.auc:.4f} of {metadata.metrics.n} rows"
    )


def _stage(options: argparse.Namespace) -> None:
    metadata = named_version(options.registry, options.which)
    moved = move(options.registry, metadata.name, metadata.version, options.stage, user())
    print(f"{moved.name}@{moved.version} is in {moved.stage}")


def _tag(text: str) -> str:
    if not text.partition("=")[0] or "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


def build_parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    common.add_argument("--json", action="store_true", help="output for machines")
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.models", description=__doc__.partition("\n")[0]
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")

    def add(name: str, what: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        word = words.add_parser(name, help=what, description=what, parents=[common])
        word.set_defaults(run=run)
        return word

    add("list", "all versions", _list).add_argument("model", nargs="?", metavar="MODEL")
    add("show", "all that is known of a version", _show).add_argument("which", metavar="MODEL@VERSION")
    _add_register(add("register", "make a version of a model file: checked, and evaluated", _register))
    stage = add("stage", "move a version: none, staging, production, archived", _stage)
    stage.add_argument("which", metavar="MODEL@VERSION")
    stage.add_argument("stage", choices=get_args(Stage), metavar="STAGE")
    add_words(add)
    return parser


def _add_register(word: argparse.ArgumentParser) -> None:
    word.add_argument("file", type=Path, metavar="FILE", help="a skops or ONNX file")
    word.add_argument("which", metavar="MODEL@VERSION", help="the version that it becomes")
    for option, what in (
        ("--training-data", "what it was trained on"),
        ("--held-out", "what it is evaluated on"),
    ):
        word.add_argument(option, type=Path, required=True, metavar="CSV", help=what)
    word.add_argument("--author", default="", help="default: who runs this command")
    word.add_argument("--description", default="", metavar="TEXT")
    word.add_argument("--tag", type=_tag, action="append", default=[], metavar="NAME=VALUE")


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (RegistryError, DeployError, ProxyError, EditError, KubernetesError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
