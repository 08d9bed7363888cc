"""Shared by the tests of reading: one answer from its parts, and short names for what is read."""

from __future__ import annotations

import json
from typing import Any

from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.prediction import Path, Prediction, Protocol
from crossfade.quality.reading import read_answer


def declared(protocol: Protocol = "json", score: str = "", label: str = "") -> Prediction:
    return Prediction(score=path(score), label=path(label), protocol=protocol)


def path(dotted: str) -> Path:
    return tuple(dotted.split(".")) if dotted else ()


def read(body: Any, prediction: Prediction, target: bytes = b"/", head: bytes = b"", **more: Any) -> Answer:
    """`body`: bytes, or what becomes JSON."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return read_answer(RawAnswer(200, head, content, **more), target, prediction)


def values(answer: Answer) -> list[list[tuple[Any, ...]]]:
    """Each row as (kind, value), or (kind, value, name) where there is a name."""
    return [
        [(each.kind, each.value, each.name) if each.name else (each.kind, each.value) for each in row]
        for row in answer.rows
    ]
