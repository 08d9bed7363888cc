"""Scores the chunks of a batch with a model in this machine's processes; the same rows, limits and scores as `/predict`."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crossfade_backends.batch_input import Chunk, Row
from crossfade_backends.batch_parts import Scored
from crossfade_backends.registry import RegistryError
from crossfade_backends.rows import CustomerRow, as_matrix, refusal
from crossfade_backends.scoring import ServedModel, load_served_model, risk_level

Result = tuple[Chunk, list[Scored], list[dict[str, Any]]]
_AHEAD = 2  # chunks for each process that are read before they can be scored

# Of this process. The error is raised by the first chunk: a pool whose processes fail to begin does not say why.
_model: ServedModel | RegistryError | None = None


def checked(rows: Iterable[Row]) -> tuple[list[CustomerRow], list[dict[str, Any]]]:
    """Valid rows, and the others with the reason, as the server would give it."""
    valid, bad = [], []
    for row in rows:
        reason = row.reason
        if not reason:
            try:
                valid.append(CustomerRow.model_validate(row.values))
                continue
            except ValidationError as invalid:
                reason = "; ".join(map(str, refusal(invalid).problems))
        bad.append(bad_row(row.number, reason, row.values))
    return valid, bad


def bad_row(number: int, reason: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"row": number, "reason": reason, "input": values}


def score(model: ServedModel, chunk: Chunk) -> tuple[list[Scored], list[dict[str, Any]]]:
    rows, bad = checked(chunk.rows())
    if not rows:
        return [], bad
    version = model.metadata.version
    scores = model.score(as_matrix(rows)).tolist()
    return [Scored(r.customer_id, p, risk_level(p), version) for r, p in zip(rows, scores, strict=True)], bad


def score_all(
    given: Iterable[Chunk], registry: Path, name: str, version: str, processes: int
) -> Iterator[Result]:
    """In the order of the chunks. Memory is bounded: so many chunks are under way, and no more."""
    if processes == 1:
        model = load_served_model(registry, name, version)
        for chunk in given:
            yield (chunk, *score(model, chunk))
        return
    # Spawned, as a fork of a process with threads of BLAS can hang.
    loading = (registry, name, version)
    with ProcessPoolExecutor(processes, get_context("spawn"), _load, loading) as pool:
        under_way: deque[tuple[Chunk, Future[tuple[list[Scored], list[dict[str, Any]]]]]] = deque()
        try:
            for chunk in given:
                under_way.append((chunk, pool.submit(_score, chunk)))
                if len(under_way) >= _AHEAD * processes:
                    first, future = under_way.popleft()
                    yield (first, *future.result())
            for first, future in under_way:
                yield (first, *future.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _load(registry: Path, name: str, version: str) -> None:
    global _model
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends them
    try:
        _model = load_served_model(registry, name, version)
    except RegistryError as error:
        _model = error


def _score(chunk: Chunk) -> tuple[list[Scored], list[dict[str, Any]]]:
    if isinstance(_model, RegistryError):
        raise _model
    assert _model is not None
    return score(_model, chunk)
