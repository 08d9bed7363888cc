"""Measures versions one after the other, each in a process of its own: file, load, memory, time of one row and of batches.

Rule: what is measured is what a server of this version does: `load_served_model`, then `ServedModel.score`. Loading is from a
process that has numpy to one that can score, so the import of scikit-learn or onnxruntime is in its time and its memory.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crossfade_backends.data import FloatArray
from crossfade_backends.registry import Metadata, RegistryError, model_path
from crossfade_backends.scoring import ServedModel, load_served_model

_WARM_UP = 20  # calls that are not counted, of each size


class Timed(NamedTuple):
    """Seconds of one call with so many rows."""

    rows: int
    p50: float
    p99: float


class Measured(NamedTuple):
    """Sizes in bytes, load in seconds. `memory`: resident, before the load and after the last call."""

    version: str
    framework: str
    file: int
    load: float
    memory_before: int
    memory: int
    timed: tuple[Timed, ...]
    scores: FloatArray


class Effort(NamedTuple):
    """`sizes`: rows in a call, the first of them one; `calls`: of each size."""

    sizes: tuple[int, ...] = (1, 100, 1000)
    calls: int = 1000


def measure(root: Path, metadata: Metadata, rows: FloatArray, effort: Effort) -> Measured:
    """Raises RegistryError where the version cannot be loaded, or its process was killed."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        try:
            return alone.submit(_measured, root, metadata, rows, effort).result()
        except BrokenProcessPool:
            raise RegistryError(
                model_path(root, metadata), "the process that measured it was killed"
            ) from None


def _measured(root: Path, metadata: Metadata, rows: FloatArray, effort: Effort) -> Measured:
    before = _resident()
    begun = time.perf_counter()
    model = load_served_model(root, metadata.name, metadata.version)
    load = time.perf_counter() - begun
    timed = tuple(_timed(model, rows, size, effort.calls) for size in effort.sizes)
    memory = _resident()
    file = model_path(root, metadata).stat().st_size
    scores = model.score(rows)
    return Measured(metadata.version, metadata.framework, file, load, before, memory, timed, scores)


def _timed(model: ServedModel, rows: FloatArray, size: int, calls: int) -> Timed:
    """Each call has other rows, as far as there are."""
    seconds = []
    for call in range(-_WARM_UP, calls):
        given = np.take(rows, range(call * size, (call + 1) * size), axis=0, mode="wrap")
        begun = time.perf_counter()
        model.score(given)
        if call >= 0:
            seconds.append(time.perf_counter() - begun)
    return Timed(size, quantile(seconds, 0.50), quantile(seconds, 0.99))


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that is not exceeded by this share of them."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def _resident() -> int:
    """Bytes of this process in memory; where the system does not say it, the most there ever were."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
