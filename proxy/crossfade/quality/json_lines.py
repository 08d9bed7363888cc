"""Answers with a JSON document in each line (NDJSON, JSON Lines): the lines, and their rows where no API is known by its shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from crossfade.quality.answer import Answer
from crossfade.quality.event_stream import MOST_EVENTS, Event, Events
from crossfade.quality.json_paths import read_paths
from crossfade.quality.outputs import MOST_ROWS
from crossfade.quality.prediction import Prediction

MEDIA_TYPES: Final = frozenset(
    f"application/{name}" for name in ("x-ndjson", "ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines")
)
_LINE: Final = re.compile(rb"[^\n]*+(\n|\Z)")


def lines_of(stream: bytes, whole: bool) -> Events:
    """An empty line is none. What is behind the last end of a line is one if the stream is `whole`."""
    found: list[Event] = []
    for line in _LINE.finditer(stream):
        if not line.group(1) and not whole:
            break
        content = line.group().strip()
        if not content:
            continue
        if len(found) == MOST_EVENTS:
            return Events(found, True)
        found.append(Event(b"", content, line.end()))
    return Events(found, False)


def read_lines(documents: Sequence[Any], prediction: Prediction) -> Answer:
    """Each line is a row, read as plain JSON."""
    found = [read_paths(document, prediction) for document in documents[:MOST_ROWS]]
    declared = bool(prediction.score or prediction.label)
    return Answer(
        tuple([answer.rows[0] if answer.rows else () for answer in found]) if declared else (),
        next((answer.error for answer in found if answer.error), ""),
        next((answer.unread for answer in found if answer.unread), ""),
        list(documents),
    )
