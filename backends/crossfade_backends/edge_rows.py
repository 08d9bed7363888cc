"""The rows on which versions are compared and measured, and what says of which version one is made."""

from __future__ import annotations

from pathlib import Path

from crossfade_backends.batch_input import BatchError, chunks
from crossfade_backends.batch_model import checked
from crossfade_backends.data import FloatArray, Sample, draw_sample, split_sample
from crossfade_backends.registry import Metadata
from crossfade_backends.rows import as_matrix
from crossfade_backends.train import DEFAULT_ROWS, DEFAULT_SEED

# In the `parameters` of a version that is made of another: which one, and the numbers that it computes with.
MADE_OF = "made_of"
NUMBERS = "numbers"
_CHUNK = 50_000


def held_out_rows(metadata: Metadata) -> Sample:
    """What the version was held back from in training, if it was trained on simulated customers; else others like them."""
    rows, seed = (metadata.parameters.get(name) for name in ("rows", "seed"))
    if not isinstance(rows, int) or not isinstance(seed, int):
        rows, seed = DEFAULT_ROWS, DEFAULT_SEED
    return split_sample(draw_sample(rows, seed))[1]


def rows_of(path: Path) -> FloatArray:
    """The valid rows of a file, as `batch` reads it. Raises BatchError."""
    found = [row for chunk in chunks(path, _CHUNK, set()) for row in checked(chunk.rows())[0]]
    if not found:
        raise BatchError(f"{path}: has no valid row")
    return as_matrix(found)
