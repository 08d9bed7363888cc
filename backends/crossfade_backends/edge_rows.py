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


def is_of_train(metadata: Metadata) -> bool:
    """Trained on simulated customers, so that those that were held out can be drawn again."""
    return {"rows", "seed", "amounts_in_cents"} <= metadata.parameters.keys()


def held_out_rows(metadata: Metadata) -> Sample:
    """What the version was held back from in training, if that is known; else other simulated customers."""
    rows, seed = DEFAULT_ROWS, DEFAULT_SEED
    if is_of_train(metadata):
        rows, seed = int(metadata.parameters["rows"]), int(metadata.parameters["seed"])
    return split_sample(draw_sample(rows, seed))[1]


def rows_of(path: Path) -> FloatArray:
    """The valid rows of a file, as `batch` reads it. Raises BatchError."""
    found = [row for chunk in chunks(path, _CHUNK, set()) for row in checked(chunk.rows())[0]]
    if not found:
        raise BatchError(f"{path}: has no valid row")
    return as_matrix(found)
