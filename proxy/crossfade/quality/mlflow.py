"""MLflow's `/invocations`: `predictions`, or what older servers send: a list or a data frame without it.

A data frame comes as a list of records; a list or an array of numpy as a list; several arrays as columns.
A model of a task such as llm/v1/chat answers as OpenAI does; `protocols` sees that by its shape.
"""

from __future__ import annotations

from typing import Any

from crossfade.quality.answer import Answer
from crossfade.quality.json_document import ABSENT, says_error
from crossfade.quality.prediction import Prediction
from crossfade.quality.predictions import read_predictions
from crossfade.quality.unreadable import ERROR_MEMBER, SHAPE


def read_mlflow(document: Any, prediction: Prediction) -> Answer:
    """A server that fails answers with `error_code` and `message`."""
    if says_error(document) or (isinstance(document, dict) and document.get("error_code")):
        return Answer(error=ERROR_MEMBER.error, document=document)
    found = document
    if isinstance(document, dict):
        found = document.get("predictions", ABSENT)
        if found is ABSENT and isinstance(document.get("data"), list):
            found = document
    if found is ABSENT or not isinstance(found, list | dict | int | float | str):
        return Answer(unread=SHAPE.unread, document=document)
    return read_predictions(found, prediction).answer(document)
