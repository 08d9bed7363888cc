"""OpenAI's `/v1/responses`: one row, the text of all items of `output`; whole, or as the events of a stream.

Rule: as of a chat, the text has refusals and what is called of tools, and reasoning is none of it. Reasons of the end are spelled as
those of a chat. The last event of a stream has the whole response; where it never came, the text is that of the deltas.
"""

from __future__ import annotations

from typing import Any, Final

from crossfade.quality.answer import Answer, Output
from crossfade.quality.json_document import says_error
from crossfade.quality.openai import content_text, token_count, with_declared
from crossfade.quality.outputs import MOST_OUTPUTS, RowBuilder
from crossfade.quality.prediction import Prediction
from crossfade.quality.unreadable import EMPTY, ERROR_MEMBER, SHAPE, SIZE, Problem

_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input", "mcp_call": "arguments"}
_WITHOUT_TEXT: Final = (
    "message",
    "reasoning",
    *_CALLS,
)  # if all are of these, an answer without text is empty
_DELTAS: Final = frozenset(
    f"response.{part}.delta"
    for part in (
        *("output_text", "refusal"),
        *("function_call_arguments", "custom_tool_call_input", "mcp_call_arguments"),
    )
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


def is_response(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and document.get("object") == "response"
        and isinstance(document.get("output"), list)
    )


def read_response(document: dict[str, Any], prediction: Prediction) -> Answer:
    """Of one that has not ended (`background: true`), nothing is read."""
    if says_error(document) or document.get("status") == "failed":
        return Answer(error=ERROR_MEMBER.error, document=document)
    if document.get("status") in ("queued", "in_progress"):
        return Answer(unread=SHAPE.unread, document=document)
    builder = RowBuilder()
    builder.add(_row(document))
    prompt, tokens = _usage(document)
    rows, reasons = tuple(builder.rows), (_reason(document),)
    answer = Answer(rows, builder.error, builder.unread, document, reasons, prompt, tokens)
    return with_declared(answer, prediction)


def _row(document: dict[str, Any]) -> list[Output | Problem]:
    items = [item for item in document["output"][:MOST_OUTPUTS] if isinstance(item, dict)]
    text = "".join(map(_text, items))
    if len(document["output"]) > MOST_OUTPUTS:
        return [SIZE]
    if text:
        return [Output("text", text)]
    return [EMPTY] if all(item.get("type") in _WITHOUT_TEXT for item in items) else []


def _text(item: dict[str, Any]) -> str:
    kind = item.get("type")
    if kind == "message":
        parts = item.get("content")
        refusals = (
            [part.get("refusal") for part in parts if isinstance(part, dict)]
            if isinstance(parts, list)
            else []
        )
        return content_text(parts) + "".join([text for text in refusals if isinstance(text, str)])
    if kind in _CALLS:
        named = [item.get("name"), item.get(_CALLS[kind])]
        return "".join([part for part in named if isinstance(part, str)])
    return ""


def _reason(document: dict[str, Any]) -> str:
    details = document.get("incomplete_details")
    if document.get("status") == "incomplete" and isinstance(details, dict):
        return _REASONS.get(str(details.get("reason")), "other")
    if document.get("status") != "completed":
        return "other"
    calls = any(isinstance(item, dict) and item.get("type") in _CALLS for item in document["output"])
    return "tool_calls" if calls else "stop"


def _usage(document: dict[str, Any]) -> tuple[int | None, int | None]:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None, None
    return token_count(usage.get("input_tokens")), token_count(usage.get("output_tokens"))


class ResponseEvents:
    """What the events of a stream have said so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.whole: dict[str, Any] | None = None  # the response, once it has ended

    def takes(self, document: dict[str, Any]) -> bool:
        kind = document.get("type")
        return isinstance(kind, str) and kind.startswith("response.")

    def add(self, document: dict[str, Any]) -> bool:
        """Whether the event has content."""
        kind, said = document.get("type"), document.get("response")
        if kind in _ENDS and is_response(said):
            self.whole = said
        delta = document.get("delta")
        if kind not in _DELTAS or not isinstance(delta, str) or not delta:
            return False
        self.texts.append(delta)
        return True

    @property
    def finished(self) -> bool:
        return self.whole is not None

    @property
    def tokens(self) -> int | None:
        return self.usage[1]

    @property
    def prompt_tokens(self) -> int | None:
        return self.usage[0]

    @property
    def usage(self) -> tuple[int | None, int | None]:
        return (None, None) if self.whole is None else _usage(self.whole)

    def add_rows(self, builder: RowBuilder, ended: bool) -> None:
        if self.whole is not None:
            builder.add(_row(self.whole))
        else:
            text = "".join(self.texts)
            builder.add([Output("text", text)] if text else [EMPTY] if ended else [])

    def document(self) -> Any:
        return self.whole

    def reasons(self) -> tuple[str, ...]:
        return () if self.whole is None else (_reason(self.whole),)
