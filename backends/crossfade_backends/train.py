"""Train all versions of the churn model into a registry: `python -m crossfade_backends.train`.

Rule: training is deterministic for the same library versions, and skipped if nothing changed.
A version is current if its training data, its parameters and the version of scikit-learn are
the recorded ones and its model file still has the recorded hash, with a profile beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossfade_backends.data import FEATURES, Sample, draw_sample, fingerprint, split_sample
from crossfade_backends.onnx_model import OnnxModel, installed_onnxruntime
from crossfade_backends.profile import PROFILE_FILE, profile_of
from crossfade_backends.recipes import MODEL_NAME, NETWORK, RECIPES, Recipe
from crossfade_backends.registry import (
    Metadata,
    RegistryError,
    Scorer,
    installed_framework,
    read,
    read_metadata,
    read_model,
    serialise,
    sha256,
    version_directory,
    write_version,
)

DEFAULT_REGISTRY = Path("models")
DEFAULT_ROWS = 20_000
DEFAULT_SEED = 20_240_601
# With fewer rows the held-out quarter is too small to evaluate and tree leaves are too small.
_MIN_ROWS = 400


@dataclass(frozen=True, slots=True)
class Plan:
    """The inputs for the training of one version."""

    recipe: Recipe
    train: Sample
    data_sha256: str
    parameters: dict[str, str | bool | int | float]


def plan_versions(train: Sample, rows: int, seed: int, recipes: Sequence[Recipe] = RECIPES) -> list[Plan]:
    plans = []
    for recipe in recipes:
        prepared = recipe.prepare(train)
        parameters: dict[str, str | bool | int | float] = {
            "rows": rows,
            "seed": seed,
            "estimator": recipe.estimator,
            "amounts_in_cents": recipe.amounts_in_cents,
            **recipe.options,
        }
        plans.append(Plan(recipe, prepared, fingerprint(prepared), parameters))
    return plans


def current_version(root: Path, plan: Plan) -> Metadata | None:
    """The version on disk if it is current, else None."""
    try:
        metadata = read_metadata(root, MODEL_NAME, plan.recipe.version)
        read_model(root, metadata)
        read(version_directory(root, MODEL_NAME, plan.recipe.version) / PROFILE_FILE)
    except RegistryError:
        return None
    recorded = (metadata.training_data_sha256, metadata.parameters, metadata.framework, metadata.features)
    wanted = (plan.data_sha256, plan.parameters, _framework(plan.recipe), FEATURES)
    return metadata if recorded == wanted else None


def _framework(recipe: Recipe) -> str:
    return installed_onnxruntime() if recipe.is_onnx else installed_framework()


def train_version(root: Path, plan: Plan, held_out: Sample) -> Metadata:
    # Imports scikit-learn, which takes a second; a current registry does not need it.
    from crossfade_backends.fitting import evaluate, fit

    fitted = fit(plan.recipe, plan.train)
    classifier: Scorer = fitted
    if plan.recipe.is_onnx:
        from crossfade_backends.edge_export import as_onnx

        model = as_onnx(fitted, MODEL_NAME).SerializeToString()
        classifier = OnnxModel(model)
    else:
        model = serialise(fitted)
    metadata = Metadata(
        name=MODEL_NAME,
        version=plan.recipe.version,
        framework=_framework(plan.recipe),
        created=datetime.now(UTC),
        features=FEATURES,
        parameters=plan.parameters,
        metrics=evaluate(classifier, held_out),
        training_data_sha256=plan.data_sha256,
        model_sha256=sha256(model),
    )
    scores = classifier.predict_proba(held_out.features)[:, 1]
    title = f"{metadata.name} {metadata.version}"
    write_version(root, metadata, model, profile_of(title, metadata.created, plan.train, held_out, scores))
    return metadata


def train_registry(
    root: Path, rows: int, seed: int, force: bool = False, recipes: Sequence[Recipe] = RECIPES
) -> tuple[list[Metadata], bool]:
    """The metadata of all versions, and whether they were trained now (False: all were current)."""
    train, held_out = split_sample(draw_sample(rows, seed))
    plans = plan_versions(train, rows, seed, recipes)
    if not force:
        current = [metadata for plan in plans if (metadata := current_version(root, plan))]
        if len(current) == len(plans):
            return current, False
    return [train_version(root, plan, held_out) for plan in plans], True


def _describe(metadata: Metadata) -> str:
    metrics = metadata.metrics
    return (
        f"{metadata.name} {metadata.version}: auc {metrics.auc:.4f}  log_loss {metrics.log_loss:.4f}"
        f"  brier {metrics.brier:.4f}  accuracy {metrics.accuracy:.4f}  (held out: {metrics.n})"
    )


def _parse_rows(text: str) -> int:
    rows = int(text)
    if rows < _MIN_ROWS:
        raise argparse.ArgumentTypeError(f"{rows} is too few, at least {_MIN_ROWS} are needed")
    return rows


def _parse_seed(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError("a seed must not be negative")
    return seed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.train", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    parser.add_argument("--rows", type=_parse_rows, default=DEFAULT_ROWS, metavar="N")
    parser.add_argument("--seed", type=_parse_seed, default=DEFAULT_SEED, metavar="S")
    parser.add_argument("--force", action="store_true", help="train even if all versions are current")
    parser.add_argument(
        "--network", action="store_true", help="v5 too, a neural network for devices; needs the extra `edge`"
    )
    options = parser.parse_args(arguments)
    recipes = (*RECIPES, NETWORK) if options.network else RECIPES
    try:
        versions, trained = train_registry(
            options.registry, options.rows, options.seed, options.force, recipes
        )
    except ModuleNotFoundError as missing:
        extra = "edge" if options.network else "models"
        print(f"error: needs {missing.name}: pip install 'crossfade[{extra}]'", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"trained in {options.registry}:" if trained else f"{options.registry} is current, nothing to do:")
    for metadata in versions:
        print(_describe(metadata))
    return 0


if __name__ == "__main__":
    sys.exit(main())
