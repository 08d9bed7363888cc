"""A short text of an answer, for people, without what must not be shown.

Rule: if no paths are declared, all texts are hidden and numbers are kept. Otherwise only what is at these paths is hidden.
A hidden text is its length and a hash with the request's id as the key: equal texts of one pair are seen to be equal, and
texts of two requests cannot be joined. Names of keys are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from crossfade.quality.answer import Answer
from crossfade.quality.fields import DEEPEST, LONGEST_NAME, below
from crossfade.quality.prediction import Path

LONGEST: Final = 2000  # characters
LONGEST_VALUE: Final = 200  # characters of one text that is shown
_MORE: Final = "…"


def shown(answer: Answer, redact: tuple[Path, ...], request_id: bytes) -> str:
    document: Any = answer.document
    if document is None:
        document = [[output.value for output in row] for row in answer.rows]
        if not answer.rows:
            return answer.error or answer.unread
    return _Writer(request_id[:64]).text(document, redact)


class _Writer:
    def __init__(self, key: bytes) -> None:
        self.key = key

    def text(self, document: Any, redact: tuple[Path, ...]) -> str:
        parts: list[str] = []
        size = 0
        for part in self.parts(document, redact, hides=not redact, whole=False, depth=0):
            parts.append(part)
            size += len(part)
            if size > LONGEST:
                return "".join(parts)[: LONGEST - 1] + _MORE
        return "".join(parts)

    def parts(
        self, value: Any, redact: tuple[Path, ...], hides: bool, whole: bool, depth: int
    ) -> Iterator[str]:
        """`hides`: texts are hidden here. `whole`: numbers too, because the value is at a path of `redact` or below one."""
        if isinstance(value, dict | list | tuple):
            if depth >= DEEPEST:
                yield _MORE
                return
            yield from self.members(value, redact, hides, whole, depth)
        elif isinstance(value, str):
            yield self.hidden(value) if hides else _quoted(value, LONGEST_VALUE)
        elif whole and value is not None:
            yield f"<{'true or false' if isinstance(value, bool) else 'number'}>"
        else:
            yield json.dumps(value)

    def members(
        self,
        value: dict[str, Any] | list[Any] | tuple[Any, ...],
        redact: tuple[Path, ...],
        hides: bool,
        whole: bool,
        depth: int,
    ) -> Iterator[str]:
        is_object = isinstance(value, dict)
        yield "{" if is_object else "["
        for index, (name, inner) in enumerate(value.items() if isinstance(value, dict) else enumerate(value)):
            yield ", " if index else ""
            if is_object:
                yield _quoted(str(name), LONGEST_NAME) + ": "
            rest = below(redact, str(name)) if redact and not whole else ()
            ends = whole or () in rest
            yield from self.parts(inner, rest, hides or ends, ends, depth + 1)
        yield "}" if is_object else "]"

    def hidden(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        return f"<{len(text)} characters, {blake2b(data, key=self.key, digest_size=4).hexdigest()}>"


def _quoted(text: str, longest: int) -> str:
    return json.dumps(text if len(text) <= longest else text[: longest - 1] + _MORE, ensure_ascii=False)
