"""Plain JSON: the values at the declared paths, one row.

Rule: true and false are labels and no scores; a text at the path of a score is of the wrong type, never a number.
"""

from __future__ import annotations

from typing import Any

from crossfade.quality.answer import Answer, Output
from crossfade.quality.json_document import ABSENT, value_at
from crossfade.quality.outputs import Wanted, output_of
from crossfade.quality.prediction import Path, Prediction
from crossfade.quality.unreadable import MISSING, TYPE, Problem


def read_paths(document: Any, prediction: Prediction) -> Answer:
    """Without a declared path nothing is read, and nothing is wrong."""
    declared: tuple[tuple[Path, Wanted], ...] = ((prediction.score, "score"), (prediction.label, "label"))
    row: list[Output] = []
    error = unread = ""
    for path, wanted in declared:
        if not path:
            continue
        output = _output_at(document, path, wanted)
        if isinstance(output, Problem):
            error = error or output.error
            unread = unread or output.unread
        else:
            row.append(output)
    return Answer((tuple(row),) if row else (), error, unread, document)


def _output_at(document: Any, path: Path, wanted: Wanted) -> Output | Problem:
    value = value_at(document, path, ABSENT)
    if value is ABSENT:
        return MISSING
    if isinstance(value, list) and (wanted == "label" or len(value) < 2):
        return TYPE  # more than one score is a vector; one in a list, and a list of labels, have a path of their own
    return output_of(value, ".".join(path), wanted)
