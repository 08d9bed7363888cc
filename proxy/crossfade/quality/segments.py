"""The values by which traffic is divided into segments: from the answer, and from the head and body of the request.

Rule: a value that is absent, no single value, or longer than a label is empty, so it counts as unknown.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from crossfade.quality.answer import Answer
from crossfade.quality.encodings import unpack
from crossfade.quality.head_fields import HeadFields
from crossfade.quality.json_document import decode, value_at
from crossfade.quality.outputs import LONGEST_LABEL
from crossfade.quality.prediction import Prediction
from crossfade.quality.unreadable import Unreadable

LARGEST_REQUEST = 4 * 1024 * 1024  # bytes without codings


def segment_values(
    prediction: Prediction, answer: Answer, target: bytes, request_head: bytes, request_body: bytes | None
) -> tuple[str, ...]:
    """In the order of `prediction.segment`. `request_body` None: it is not known."""
    if not prediction.segment:
        return ()
    request = _decoded(request_head, request_body) if prediction.wants_body else None
    values = []
    value: Any = None
    for source in prediction.segment:
        match source.kind:
            case "answer":
                value = value_at(answer.document, source.path)
            case "json":
                value = value_at(request, source.path)
            case "header":
                value = HeadFields(request_head).find(source.name.lower().encode())
            case "query":
                value = _query_value(target, source.name)
        values.append(segment_value(value))
    return tuple(values)


def segment_value(value: Any) -> str:
    """Text as it is, numbers as Python spells them, `true` and `false`; empty for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_LABEL else ""


def _decoded(head: bytes, body: bytes | None) -> Any:
    try:
        coding = HeadFields(head).find(b"content-encoding")
        if body and coding is not None:
            body = unpack(body, coding, LARGEST_REQUEST).content
        return decode(body) if body else None
    except Unreadable:
        return None


def _query_value(target: bytes, name: str) -> str | None:
    """The first value of the parameter, decoded, so that two spellings of one value are one segment."""
    for pair in target.partition(b"?")[2].split(b"&"):
        key, _, value = pair.partition(b"=")
        if unquote_plus(key.decode("latin-1")) == name:
            return unquote_plus(value.decode("latin-1"))
    return None
