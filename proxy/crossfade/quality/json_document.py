"""JSON decoded for comparison, and the value at a path of it.

Rule: it costs no more than a limited depth, and what is no JSON has a reason. Python's `json` writes NaN, Infinity and
-Infinity, and many model servers are written in Python, so these are read, although RFC 8259 has none of them:
that an answer has NaN is what a comparison wants to know.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from crossfade.quality.unreadable import DEPTH, NOT_JSON, RANGE, UTF8, Unreadable

DEEPEST: Final = 64  # objects and lists inside each other
_DECODE: Final = msgspec.json.Decoder().decode
ABSENT: Final = object()  # for `value_at`, where null is a value
_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[{")


def decode(body: bytes) -> Any:
    """Raises Unreadable. Of a name that an object has twice, the last one counts."""
    try:
        document = _DECODE(body)
    except UnicodeDecodeError:
        raise Unreadable(UTF8) from None
    except RecursionError:
        raise Unreadable(DEPTH) from None
    except msgspec.DecodeError as error:  # a ValidationError is one of them: a number out of range
        document = _decode_loosely(body, isinstance(error, msgspec.ValidationError))
    if len(body.translate(None, _BRACKETS)) > DEEPEST and _is_deep(document):
        raise Unreadable(DEPTH)
    return document


def _decode_loosely(body: bytes, out_of_range: bool) -> Any:
    """With numbers that JSON has not, or that are too large for msgspec."""
    if not (out_of_range or b"NaN" in body or b"Infinity" in body):
        raise Unreadable(NOT_JSON)
    try:
        document = json.loads(body.decode())
        if b"\\ud" in body.lower():  # half of a character, which `json` lets pass
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise Unreadable(NOT_JSON) from None
    except UnicodeError:
        raise Unreadable(UTF8) from None
    except RecursionError:
        raise Unreadable(DEPTH) from None
    except ValueError:  # more digits than Python converts
        raise Unreadable(RANGE) from None
    return document


def _is_deep(document: Any) -> bool:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def value_at(document: Any, path: tuple[str, ...], absent: Any = None) -> Any:
    """The value at a path of object names and list indexes from 0, or `absent`."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step, absent)
            if document is absent:
                return absent
        elif isinstance(document, list) and step.isascii() and step.isdigit() and len(step) < 10:
            if (len(step) > 1 and step[0] == "0") or int(step) >= len(document):
                return absent
            document = document[int(step)]
        else:
            return absent
    return document


def says_error(document: Any) -> bool:
    """Whether the answer has a member `error` that says something."""
    return isinstance(document, dict) and bool(document.get("error"))
