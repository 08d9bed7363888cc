"""Ollama's `/api/chat` and `/api/generate`: a JSON document in each line, the last one with `done`; or one document that is whole.

Rule: as of a chat of OpenAI, thinking is no content, and what is called of tools is part of the text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crossfade.quality.answer import Answer, Output
from crossfade.quality.json_document import says_error
from crossfade.quality.openai import reason_of, token_count, with_declared
from crossfade.quality.outputs import RowBuilder
from crossfade.quality.prediction import Prediction
from crossfade.quality.unreadable import EMPTY, ERROR_MEMBER


def is_ollama(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and isinstance(document.get("done"), bool)
        and isinstance(document.get("model"), str)
        and (isinstance(document.get("message"), dict) or isinstance(document.get("response"), str))
    )


def read_ollama(document: dict[str, Any], prediction: Prediction) -> Answer:
    """Of an answer that is one document."""
    if says_error(document):
        return Answer(error=ERROR_MEMBER.error, document=document)
    lines = OllamaLines()
    lines.add(document)
    builder = RowBuilder()
    lines.add_rows(builder, True)
    rows = tuple(builder.rows)
    answer = Answer(
        rows, builder.error, builder.unread, document, lines.reasons(), lines.prompt_tokens, lines.tokens
    )
    return with_declared(answer, prediction)


class OllamaLines:
    """What the lines have said so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.last: dict[str, Any] = {}
        self.finished = False

    def takes(self, document: dict[str, Any]) -> bool:
        return is_ollama(document)

    def add(self, document: dict[str, Any]) -> bool:
        """Whether the line has content."""
        self.last = document
        self.finished = document["done"]
        text = _text(document)
        if text:
            self.texts.append(text)
        return bool(text)

    @property
    def tokens(self) -> int | None:
        return token_count(self.last.get("eval_count"))

    @property
    def prompt_tokens(self) -> int | None:
        return token_count(self.last.get("prompt_eval_count"))

    def add_rows(self, builder: RowBuilder, ended: bool) -> None:
        text = "".join(self.texts)
        builder.add([Output("text", text)] if text else [EMPTY] if ended else [])

    def document(self) -> Any:
        """As if the answer had come whole."""
        text, message = "".join(self.texts), self.last.get("message")
        said = {"message": message | {"content": text}} if isinstance(message, dict) else {"response": text}
        return self.last | said

    def reasons(self) -> tuple[str, ...]:
        return (reason_of(self.last.get("done_reason")),)


def _text(document: dict[str, Any]) -> str:
    message = document.get("message")
    if not isinstance(message, dict):
        response = document.get("response")
        return response if isinstance(response, str) else ""
    content, calls = message.get("content"), message.get("tool_calls")
    parts = [content if isinstance(content, str) else ""]
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            name, arguments = function.get("name"), function.get("arguments")
            parts.append(name if isinstance(name, str) else "")
            parts.append(msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else "")
    return "".join(parts)
