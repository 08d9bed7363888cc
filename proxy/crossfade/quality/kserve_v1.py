"""KServe's protocol v1 and TensorFlow Serving: `predictions` by row, or TensorFlow's `outputs` by column.

TensorFlow's `:classify` and `:regress` answer with `results` (tf_results).
TensorFlow Serving leaves the names away where the model has one output, and writes NaN and Infinity as they are.
"""

from __future__ import annotations

from typing import Any

from crossfade.quality.answer import Answer
from crossfade.quality.json_document import ABSENT, says_error
from crossfade.quality.prediction import Prediction
from crossfade.quality.predictions import read_predictions
from crossfade.quality.tf_results import read_results, results_in
from crossfade.quality.unreadable import ERROR_MEMBER, SHAPE


def has_predictions(document: Any) -> bool:
    return isinstance(document, dict) and ("predictions" in document or "outputs" in document)


def read_kserve(document: Any, prediction: Prediction) -> Answer:
    if says_error(document):
        return Answer(error=ERROR_MEMBER.error, document=document)
    results = results_in(document)
    if results is not None:
        return read_results(results, prediction).answer(document)
    if not has_predictions(document):
        return Answer(unread=SHAPE.unread, document=document)
    found = document.get("predictions", ABSENT)
    return read_predictions(document["outputs"] if found is ABSENT else found, prediction).answer(document)
