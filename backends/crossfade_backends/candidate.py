"""A model that is no version yet: trained from a CSV file, and held against the champion before it is registered.

`python -m crossfade_backends.candidate train|evaluate`. Rule: both models are scored here, on the same rows. Exit codes: 0 done,
1 an error, 2 a wrong command line, 3 the candidate is worse than the champion.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from crossfade_backends.deployment_words import table
from crossfade_backends.recipes import RECIPES
from crossfade_backends.registering import rows_of, safely_loaded
from crossfade_backends.registry import Metrics, RegistryError, load_model, read, serialise, write_whole
from crossfade_backends.stages import named_version
from crossfade_backends.train import DEFAULT_REGISTRY

WORSE = 3
_RECIPE = next(recipe for recipe in RECIPES if recipe.version == "v3")
_COLUMNS = ("auc", "log_loss", "brier", "accuracy")


def worse(candidate: Metrics, champion: Metrics, auc: float = 0.0, log_loss: float = 0.0) -> Iterator[str]:
    """In what the candidate is worse. `auc`, `log_loss`: by how much it may be; both metrics are of the same rows."""
    if candidate.auc < champion.auc - auc:
        yield f"auc {candidate.auc:.4f} is below {champion.auc:.4f} - {auc:g}"
    if candidate.log_loss > champion.log_loss + log_loss:
        yield f"log_loss {candidate.log_loss:.4f} is above {champion.log_loss:.4f} + {log_loss:g}"


def train(rows: Path, file: Path) -> int:
    """By the recipe of v3. Returns how many rows there were. Raises RegistryError or OSError."""
    sample = rows_of(rows)
    # Imports scikit-learn, which takes a second; rows that are refused do not need it.
    from crossfade_backends.fitting import fit

    write_whole(file, serialise(fit(_RECIPE, sample)))
    return len(sample.churned)


def _train(options: argparse.Namespace) -> int:
    count = train(options.rows, options.file)
    print(f"{options.file}: trained on {count} rows")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    champion = named_version(options.registry, options.against)
    model, _ = safely_loaded(options.file, read(options.file))
    held_out = rows_of(options.held_out)
    from crossfade_backends.fitting import evaluate

    candidate = evaluate(model, held_out)
    against = evaluate(load_model(options.registry, champion), held_out)
    rows = [
        (name, *(f"{getattr(each, key):.4f}" for key in _COLUMNS))
        for name, each in (("candidate", candidate), (f"{champion.name}@{champion.version}", against))
    ]
    print(table(("model", *_COLUMNS), rows))
    why = list(worse(candidate, against, options.auc, options.log_loss))
    for one in why:
        print(f"worse than the champion: {one}", file=sys.stderr)
    return WORSE if why else 0


def _allowed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.candidate", description=__doc__.partition("\n")[0]
    )
    words = parser.add_subparsers(required=True, metavar="WORD")
    word = words.add_parser("train", help="make a model file of rows")
    word.set_defaults(run=_train)
    word.add_argument("rows", type=Path, metavar="CSV", help="five features and `churned` as columns")
    word.add_argument("file", type=Path, metavar="FILE", help="the skops file that is written")
    word = words.add_parser("evaluate", help=f"hold a model file against a version; exit code {WORSE}: worse")
    word.set_defaults(run=_evaluate)
    word.add_argument("file", type=Path, metavar="FILE", help="a skops or ONNX file")
    word.add_argument("--against", default="churn@production", metavar="MODEL@VERSION")
    word.add_argument("--held-out", type=Path, required=True, metavar="CSV")
    word.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    for metric in ("auc", "log-loss"):
        what = "by how much it may be worse (default: 0)"
        word.add_argument(f"--{metric}", type=_allowed, default=0.0, metavar="X", help=what)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (RegistryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
