"""Versions for devices: `python -m crossfade_backends.edge export|quantize|bench|compare`.

    export [churn@v2 …]             the same model as ONNX, of 32-bit floats: version v2-onnx
    quantize [churn@v2 …]           its matrices of 8-bit integers: version v2-int8
    bench [churn@v2 …]              size, load, memory, latency of each, before and after: a table and a picture
    compare churn@v2 churn@v2-int8  how many decisions changed, and how far the scores are apart

Rule: a version that is too far from the one that it was made of fails the command, and is not registered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossfade_backends.batch import positive
from crossfade_backends.batch_input import BatchError
from crossfade_backends.edge_bench import Effort, measure
from crossfade_backends.edge_parity import Limits, parity
from crossfade_backends.edge_report import Line, as_json, plot, table
from crossfade_backends.edge_rows import MADE_OF, NUMBERS, held_out_rows, rows_of
from crossfade_backends.recipes import MODEL_NAME
from crossfade_backends.registry import Metadata, RegistryError, is_onnx, versions_of
from crossfade_backends.scoring import load_served_model
from crossfade_backends.stages import named_version
from crossfade_backends.train import DEFAULT_REGISTRY


def make_versions(options: argparse.Namespace) -> int:
    """Where none is named: of each that is not made of another; one that has nothing to quantise stays as it is."""
    try:
        from crossfade_backends import edge_versions
        from crossfade_backends.edge_quantize import NothingToQuantiseError
    except ModuleNotFoundError as missing:
        print(f"error: needs {missing.name}: pip install 'crossfade[edge]'", file=sys.stderr)
        return 1
    kind: edge_versions.Kind = "onnx" if options.command == "export" else "int8"
    rows = None if options.rows is None else rows_of(options.rows)
    failed = False
    for source in _sources(options):
        version = options.version or edge_versions.named(source, kind)
        try:
            made = edge_versions.make(options.registry, source, kind, version, _limits(options), rows)
        except NothingToQuantiseError as nothing:
            print(f"{source.name}@{source.version} stays as it is: it {nothing}")
            failed |= bool(options.models)
        except edge_versions.TooFarError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
        else:
            how = "made" if made.is_new else "is current"
            print(f"{source.name}@{version} {how}: {made.parity.line()}")
    return int(failed)


def _sources(options: argparse.Namespace) -> list[Metadata]:
    is_export = options.command == "export"
    if options.models:
        found = [named_version(options.registry, text) for text in options.models]
        if is_export and (exported := [metadata.version for metadata in found if is_onnx(metadata)]):
            raise RegistryError(options.registry, f"{', '.join(exported)} is ONNX already")
    else:
        own = (m for m in versions_of(options.registry, MODEL_NAME) if MADE_OF not in m.parameters)
        found = [metadata for metadata in own if not (is_export and is_onnx(metadata))]
    if not found:
        raise RegistryError(
            options.registry,
            f"has no version of {MODEL_NAME!r} to make another of; "
            "`python -m crossfade_backends.train` makes some",
        )
    if options.version and len(found) > 1:
        raise RegistryError(options.registry, f"one version can be {options.version!r}, not {len(found)}")
    return found


def bench(options: argparse.Namespace) -> int:
    """Each version below the one that it is made of, where that is among them."""
    found = (
        [named_version(options.registry, text) for text in options.models]
        if options.models
        else versions_of(options.registry, MODEL_NAME)
    )
    found.sort(
        key=lambda metadata: (str(metadata.parameters.get(MADE_OF, metadata.version)), metadata.created)
    )
    if not found:
        raise RegistryError(options.registry, f"has no version of {MODEL_NAME!r}")
    rows = held_out_rows(found[0]).features if options.rows is None else rows_of(options.rows)
    effort = Effort((1, *options.batch), options.calls)
    lines: list[Line] = []
    for metadata in found:
        print(f"measuring {metadata.name}@{metadata.version}", file=sys.stderr, flush=True)
        measured = measure(options.registry, metadata, rows, effort)
        source = next(
            (line for line in lines if line.measured.version == metadata.parameters.get(MADE_OF)), None
        )
        near = None if source is None else parity(source.measured.scores, measured.scores)
        lines.append(Line(measured, _kind(metadata), near))
    print(as_json(lines) if options.json else table(lines), end="")
    if options.plot is not None:
        options.plot.write_text(plot(lines), encoding="utf-8")
    return 0


def _kind(metadata: Metadata) -> str:
    is_int8 = metadata.parameters.get(NUMBERS) == "int8"
    return "int8" if is_int8 else metadata.framework.partition(" ")[0]


def compare(options: argparse.Namespace) -> int:
    before, after = (named_version(options.registry, text) for text in options.models)
    rows = held_out_rows(before).features if options.rows is None else rows_of(options.rows)
    scores = [
        load_served_model(options.registry, metadata.name, metadata.version).score(rows)
        for metadata in (before, after)
    ]
    found = parity(*scores)
    print(f"{before.name}@{before.version} → {after.name}@{after.version}: {found.line()}")
    problems = found.problems(_limits(options))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return int(bool(problems))


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(options.max_changed, options.max_difference)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    summary, _, words = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.edge",
        description=summary,
        epilog=words,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, told in (("export", "versions → ONNX"), ("quantize", "versions → INT8")):
        made = _command(commands, name, told, make_versions)
        made.add_argument("models", nargs="*", metavar="NAME@WHICH", help=f"default: all of {MODEL_NAME}")
        made.add_argument("--as", dest="version", metavar="VERSION", help="the name of the one that is made")
        _add_limits(made)
    _add_bench(commands)
    compared = _command(commands, "compare", "two versions", compare)
    compared.add_argument("models", nargs=2, metavar="NAME@WHICH", help="before and after")
    _add_limits(compared)
    return parser.parse_args(arguments)


def _add_bench(commands: Any) -> None:
    effort = Effort()
    measured = _command(commands, "bench", "size, load, memory and latency", bench)
    measured.add_argument("models", nargs="*", metavar="NAME@WHICH", help=f"default: all of {MODEL_NAME}")
    measured.add_argument(
        "--batch",
        type=positive,
        nargs="+",
        default=effort.sizes[1:],
        metavar="ROWS",
        help=f"rows in a call, besides one (default: {' '.join(map(str, effort.sizes[1:]))})",
    )
    measured.add_argument(
        "--calls",
        type=positive,
        default=effort.calls,
        metavar="N",
        help="of each size (default: %(default)s)",
    )
    measured.add_argument("--json", action="store_true", help="JSON in place of the table")
    measured.add_argument("--plot", type=Path, metavar="FILE.svg", help="a picture of it")


def _command(commands: Any, name: str, told: str, run: Callable[[argparse.Namespace], int]) -> Any:
    made = commands.add_parser(name, help=told, description=told)
    made.set_defaults(run=run)
    made.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    made.add_argument(
        "--rows", type=Path, metavar="FILE", help="customers to measure with: .parquet, .csv, .ndjson"
    )
    return made


def _add_limits(parser: Any) -> None:
    limits = Limits()
    parser.add_argument(
        "--max-changed",
        type=share,
        default=limits.changed,
        metavar="SHARE",
        help=f"of the decisions: 0.01 or 1%% (default: {limits.changed:.0%}%)",
    )
    parser.add_argument(
        "--max-difference",
        type=share,
        default=limits.difference,
        metavar="SHARE",
        help=f"of two scores (default: {limits.difference})",
    )


def share(text: str) -> float:
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1: too far apart, nothing to quantise, or an error that it names."""
    options = parse(arguments)
    try:
        return int(options.run(options))
    except (BatchError, RegistryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
