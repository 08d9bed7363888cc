"""Train the churn model again, on what the proxy has logged: `python -m crossfade_backends.retrain`.

It is what `retrain: {command: …}` of a route runs, with the order as JSON on its standard input; with `--listen` it answers
`retrain: {webhook: …}` instead. From labelled rows to a registered version: fetch, split by time, train, evaluate beside
the champion on the same held-out rows, register. A version that is not worse than the champion goes to staging.

Rule: an order is carried out once. Its version has the order's id, and one that is in the registry is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossfade_backends import labelled_rows
from crossfade_backends.data import FEATURES, fingerprint
from crossfade_backends.labelled_rows import LabelledRows, NoRowsError
from crossfade_backends.locks import locked
from crossfade_backends.mlflow_registry import MlflowError, register
from crossfade_backends.orders import ORDERS, Order, read_order
from crossfade_backends.recipes import MODEL_NAME, RECIPES
from crossfade_backends.registry import (
    Metadata,
    Metrics,
    RegistryError,
    load_model,
    read_metadata,
    versions_of,
    write_metadata,
)
from crossfade_backends.stages import in_stage, tag, user
from crossfade_backends.train import DEFAULT_REGISTRY, Plan, train_version

RECIPE = next(recipe for recipe in RECIPES if recipe.version == "v3")
MIN_ROWS = 400  # with fewer, the held-out quarter is too small to evaluate and tree leaves are too small
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Options:
    registry: Path = DEFAULT_REGISTRY
    label: str = "label"
    days: float = 30.0
    max_rows: int = 200_000
    token: str = ""
    start: bool = False
    host: str = "127.0.0.1"
    mlflow: str = ""


def carry_out(order: Order, options: Options) -> dict[str, Any]:
    """What the journal of the proxy gets. Another process that carries out this order is waited for.

    Raises NoRowsError, RegistryError, MlflowError, ValueError or OSError."""
    with _alone(order, options.registry):
        return _carried_out(order, options)


@contextmanager
def _alone(order: Order, root: Path) -> Iterator[None]:
    """A proxy that was killed leaves its command behind, and the next one begins another."""
    folder = root / ORDERS
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{order.id}.lock"):
        yield


def _carried_out(order: Order, options: Options) -> dict[str, Any]:
    if _is_registered(options.registry, order):
        summary: dict[str, Any] = {}
        _serve(order, options)
    else:
        summary = _trained(order, options)
    metadata = read_metadata(options.registry, MODEL_NAME, order.version)
    if options.mlflow:
        number = register(options.mlflow, metadata)
        metadata = tag(options.registry, MODEL_NAME, order.version, mlflow=number)
        summary["mlflow"] = f"{MODEL_NAME}/{number}"
    return {
        "model": metadata.name,
        "version": metadata.version,
        "stage": metadata.stage,
        "metrics": metadata.metrics.model_dump(),
        **summary,
        **({"endpoint": metadata.tags["endpoint"]} if "endpoint" in metadata.tags else {}),
    }


def _serve(order: Order, options: Options) -> None:
    if options.start:
        from crossfade_backends.starting import start

        start(options.registry, MODEL_NAME, order.version, options.host)


def _is_registered(root: Path, order: Order) -> bool:
    found = (m for m in versions_of(root, MODEL_NAME) if m.version == order.version)
    return any(metadata.tags.get("order") == order.id for metadata in found)


def _trained(order: Order, options: Options) -> dict[str, Any]:
    """Rows → a version in the registry, in staging if it is not worse than the champion."""
    rows = _rows(order, options)
    train, held_out = rows.split()
    if len(train.churned) < MIN_ROWS or min(len(set(s.churned.tolist())) for s in (train, held_out)) < 2:
        left_out = ", ".join(f"{n} {why}" for why, n in rows.left_out.items()) or "none"
        raise NoRowsError(
            f"{len(train.churned)} rows to train on, of both classes at least {MIN_ROWS} are needed (left out: {left_out})"
        )
    champion = _champion(order, options.registry)
    parameters: dict[str, str | bool | int | float] = {
        "rows": len(train.churned),
        "order": order.id,
        "estimator": RECIPE.estimator,
        **RECIPE.options,
    }
    recipe = replace(RECIPE, version=order.version)
    metadata = train_version(options.registry, Plan(recipe, train, fingerprint(train), parameters), held_out)
    before = None if champion is None else _evaluated(options.registry, champion, held_out)
    is_better = before is None or metadata.metrics.log_loss <= before.log_loss
    _serve(order, options)  # before it is in staging, where a rollout finds it
    tags = read_metadata(options.registry, MODEL_NAME, order.version).tags
    tags |= {"order": order.id, "reason": order.reason, "route": order.route}
    # In one write: a version without the tag of its order is one that was not finished.
    finished = metadata.model_copy(update={"tags": tags})
    if is_better:
        finished = in_stage(finished, "staging", user())
    write_metadata(options.registry, finished)
    return {
        "rows": {"trained": len(train.churned), "held_out": len(held_out.churned), "left_out": rows.left_out},
        "champion": None
        if champion is None or before is None
        else {"version": champion.version, "metrics": before.model_dump()},
    }


def _rows(order: Order, options: Options) -> LabelledRows:
    since = (time.time() if order.at is None else order.at) - options.days * DAY
    separator = "&" if "?" in order.predictions else "?"
    url = f"{order.predictions}{separator}since={since:.3f}"
    return labelled_rows.read(labelled_rows.fetch(url, options.token), options.label, options.max_rows)


def _evaluated(root: Path, champion: Metadata, held_out: Any) -> Metrics:
    from crossfade_backends.fitting import evaluate

    return evaluate(load_model(root, champion), held_out)


def _champion(order: Order, root: Path) -> Metadata | None:
    """The version that the champion's backend names: by its `version`, by its name, or else the one in production."""
    known = {metadata.version: metadata for metadata in versions_of(root, MODEL_NAME)}
    backend = order.champion.backend or ""
    version = (order.champion.version or "").removeprefix(f"{MODEL_NAME}/")
    numbers = {m.tags["mlflow"]: name for name, m in known.items() if "mlflow" in m.tags}
    for name in (numbers.get(version, version), backend, backend.removeprefix(f"{MODEL_NAME}-")):
        if name in known and known[name].features == FEATURES:
            return known[name]
    return next((metadata for metadata in known.values() if metadata.stage == "production"), None)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.retrain", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, metavar="DIR")
    parser.add_argument("--label", default="label", metavar="NAME", help="the name of the feedback")
    parser.add_argument("--days", type=float, default=30.0, help="how old the rows may be (default: 30)")
    parser.add_argument("--max-rows", type=int, default=200_000, metavar="N", help="the newest are kept")
    parser.add_argument(
        "--start", action="store_true", help="start a server of the version, which outlives this command"
    )
    parser.add_argument(
        "--mlflow",
        metavar="URL",
        default="",
        help="register with this MLflow server too (MLFLOW_TRACKING_TOKEN)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where --start listens")
    parser.add_argument(
        "--order", metavar="FILE", default="-", help="the order as JSON (default: standard input)"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="answer a webhook at /retrain; CROSSFADE_RETRAIN_SECRET checks it",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    token = os.environ.get("CROSSFADE_ADMIN_TOKEN", "")
    options = Options(
        given.registry, given.label, given.days, given.max_rows, token, given.start, given.host, given.mlflow
    )
    if given.listen:
        from crossfade_backends.trainer import listen

        return listen(
            given.listen, given.registry, os.environ.get("CROSSFADE_RETRAIN_SECRET", ""), sys.argv[1:]
        )
    try:
        text = sys.stdin.read() if given.order == "-" else Path(given.order).read_text()
        print(json.dumps(carry_out(read_order(text), options)))
    except (NoRowsError, RegistryError, MlflowError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
