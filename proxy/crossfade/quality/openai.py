"""OpenAI's chat completions, completions and embeddings, whole; `openai_stream` reads streamed ones, `openai_responses` its other API.

Rule: a row is a choice, in the order of their `index`, or the input of an embedding. What a model calls of tools is
part of its text, so an answer that only calls a tool is not empty.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from typing import Any, Final

import msgspec

from crossfade.quality.answer import Answer, Output
from crossfade.quality.json_document import says_error
from crossfade.quality.json_paths import read_paths
from crossfade.quality.outputs import LONGEST_VECTOR, MOST_ROWS, RowBuilder, vector_of
from crossfade.quality.prediction import Prediction
from crossfade.quality.predictions import declarations
from crossfade.quality.unreadable import EMPTY, ERROR_MEMBER, SHAPE, SIZE, TYPE, Problem

# OpenAI's, then those of other servers with this API (vLLM, Text Generation Inference, Anthropic's).
REASONS: Final = frozenset(
    {
        *("stop", "length", "content_filter", "tool_calls", "function_call"),
        *("abort", "error", "eos_token", "stop_sequence", "end_turn", "max_tokens"),
    }
)


def is_openai(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    if isinstance(document.get("choices"), list):
        return True
    data = document.get("data")
    return isinstance(data, list) and all(isinstance(each, dict) and "embedding" in each for each in data)


def read_openai(document: Any, prediction: Prediction) -> Answer:
    if says_error(document):
        return Answer(error=ERROR_MEMBER.error, document=document)
    if not is_openai(document):
        return Answer(unread=SHAPE.unread, document=document)
    builder = RowBuilder()
    finish: tuple[str, ...] = ()
    if isinstance(document.get("choices"), list):
        finish = _read_choices(document["choices"], builder)
    else:
        for each in in_order(document["data"]):
            builder.add([_embedding(each["embedding"])])
    prompt, tokens = usage_of(document.get("usage"))
    rows = tuple(builder.rows)
    answer = Answer(rows, builder.error, builder.unread, document, finish, prompt, tokens)
    return with_declared(answer, prediction)


def with_declared(answer: Answer, prediction: Prediction) -> Answer:
    """Outputs of this API have no names, so declared names are paths: a text that is a label has one."""
    if not declarations(prediction) or answer.error or answer.document is None:
        return answer
    found = read_paths(answer.document, prediction)
    unread = answer.unread or found.unread
    return msgspec.structs.replace(answer, rows=found.rows, error=found.error, unread=unread)


def _read_choices(choices: list[Any], builder: RowBuilder) -> tuple[str, ...]:
    finish = []
    for choice in in_order(choices):
        message = choice.get("message")
        text = message_text(message) if isinstance(message, dict) else choice.get("text")
        if text is None or isinstance(text, str):
            builder.add([Output("text", text)] if text else [EMPTY])
        else:
            builder.add([TYPE])
        finish.append(reason_of(choice.get("finish_reason")))
    if not choices:
        builder.note(EMPTY)
    return tuple(finish)


def in_order(items: list[Any]) -> list[dict[str, Any]]:
    """Servers send choices and embeddings in any order; `index` tells it."""
    found = [
        (place_of(item, at), at, item) for at, item in enumerate(items[:MOST_ROWS]) if isinstance(item, dict)
    ]
    return [item for _, _, item in sorted(found, key=lambda each: each[:2])]


def place_of(item: dict[str, Any], otherwise: int) -> int:
    index = item.get("index")
    return index if type(index) is int else otherwise


def reason_of(reason: Any) -> str:
    """Empty where the server says none, as it does before the end of a stream. Unknown ones are one, so that they are few."""
    if not isinstance(reason, str) or not reason:
        return ""
    return reason if reason in REASONS else "other"


def message_text(message: dict[str, Any]) -> str:
    """Of a message, or of the part of one that a stream brings: content, or a refusal, and the calls of tools."""
    parts = [content_text(message.get("content")) or content_text(message.get("refusal"))]
    calls = message.get("tool_calls")
    functions = (
        [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    )
    parts += map(_call_text, functions)
    parts.append(_call_text(message.get("function_call")))
    return "".join(parts)


def content_text(content: Any) -> str:
    """A text, or a list of parts of which some have a text."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join([text for text in texts if isinstance(text, str)])
    return content if isinstance(content, str) else ""


def _call_text(function: Any) -> str:
    if not isinstance(function, dict):
        return ""
    named = [function.get("name"), function.get("arguments")]
    return "".join([part for part in named if isinstance(part, str)])


def usage_of(usage: Any) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the output; of embeddings there is no output."""
    if not isinstance(usage, dict):
        return None, None
    return token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))


def token_count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _embedding(value: Any) -> Output | Problem:
    """A list of numbers, or the bytes of FP32 numbers in base64, which OpenAI's own client asks for."""
    if isinstance(value, str):
        if len(value) > LONGEST_VECTOR * 6:
            return SIZE
        try:
            packed = b64decode(value, validate=True)
            value = list(struct.unpack(f"<{len(packed) // 4}f", packed))
        except (ValueError, struct.error):
            return TYPE
    if not isinstance(value, list):
        return TYPE
    output = vector_of(value, "", "score")
    return (
        output if isinstance(output, Problem) or output.kind == "text" else Output("embedding", output.value)
    )
