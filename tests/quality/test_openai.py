"""OpenAI's chat completions, completions and embeddings, whole."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any

import pytest

from tests.quality.reading import declared, read, values

OPENAI = declared("openai")
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


def chat(*messages: Any, reason: Any = "stop") -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant"} | message, "finish_reason": reason}
        for index, message in enumerate(messages)
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": USAGE,
    }


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Hello!"}, "Hello!"),
        ({"content": [{"type": "text", "text": "Hel"}, {"type": "image"}, 7, {"text": "lo"}]}, "Hello"),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        (
            {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a":1}'}}]},
            'f{"a":1}',
        ),
        ({"content": "x", "function_call": {"name": "g", "arguments": "{}"}}, "xg{}"),
        ({"content": "x", "tool_calls": [7, {"function": 7}, {"function": {"name": 7}}]}, "x"),
    ],
)
def test_the_text_of_a_chat(message: Any, text: str) -> None:
    answer = read(chat(message), OPENAI)
    assert (values(answer), answer.error, answer.unread) == ([[("text", text)]], "", "")
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == (("stop",), 9, 12)


def test_choices_are_rows_in_the_order_of_their_index() -> None:
    body = {
        "object": "text_completion",
        "choices": [
            {"index": 1, "text": "second", "finish_reason": "length"},
            {"index": 0, "text": "first", "finish_reason": "stop"},
        ],
    }
    answer = read(body, OPENAI)
    assert values(answer) == [[("text", "first")], [("text", "second")]]
    assert (answer.finish, answer.tokens) == (("stop", "length"), None)


@pytest.mark.parametrize("content", ["", None, [], {}])
def test_an_empty_completion_is_an_error(content: Any) -> None:
    answer = read(chat({"content": content}, {"content": "x"}, reason=7), OPENAI)
    assert (answer.error, len(answer.rows), answer.finish) == ("empty", 2, ("", ""))


@pytest.mark.parametrize(
    ("body", "unread", "error"),
    [
        ({"error": {"message": "overloaded", "type": "server_error"}}, "", "error_member"),
        ({"choices": []}, "", "empty"),
        ({"choices": [{"text": 7}]}, "type", ""),
        ({"choices": 7}, "shape", ""),
        ({"data": [{"embedding": [0.5, None]}]}, "", "not_a_number"),
        ({"data": [{"embedding": "no base64!"}]}, "type", ""),
        ({"data": [{"embedding": "AAAA"}]}, "type", ""),
        ({"data": [{"embedding": {}}]}, "type", ""),
        ({"data": [{"embedding": ["a", "b"]}]}, "type", ""),
        ({"data": [{"embedding": []}]}, "shape", ""),
        ({"data": [{"embedding": [0.5] * 4097}]}, "size", ""),
        ({"data": [{"embedding": "A" * 25_000}]}, "size", ""),
        ({"data": [7]}, "shape", ""),
        ([], "shape", ""),
    ],
)
def test_errors_and_what_is_not_read(body: Any, unread: str, error: str) -> None:
    answer = read(body, OPENAI)
    assert (answer.unread, answer.error) == (unread, error)


@pytest.mark.parametrize("embedding", [[0.5, 0.25], b64encode(struct.pack("<2f", 0.5, 0.25)).decode()])
def test_embeddings_as_numbers_and_in_base64(embedding: Any) -> None:
    data = [
        {"object": "embedding", "index": 1, "embedding": [1.0, 2.0]},
        {"index": 0, "embedding": embedding},
    ]
    answer = read({"object": "list", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}}, OPENAI)
    assert values(answer) == [[("embedding", (0.5, 0.25))], [("embedding", (1.0, 2.0))]]
    assert (answer.prompt_tokens, answer.tokens) == (5, None)


def test_an_embedding_of_one_number() -> None:
    assert values(read({"data": [{"embedding": [2.0]}]}, OPENAI)) == [[("embedding", (2.0,))]]


@pytest.mark.parametrize(
    "usage", [7, {"prompt_tokens": "9", "completion_tokens": -1}, {"prompt_tokens": 1 << 60}]
)
def test_a_usage_of_other_types_is_not_known(usage: Any) -> None:
    answer = read({"choices": [{"text": "x"}], "usage": usage}, OPENAI)
    assert (answer.prompt_tokens, answer.tokens, answer.unread) == (None, None, "")


@pytest.mark.parametrize(
    ("reason", "named"), [("content_filter", "content_filter"), ("x" * 99, "other"), ("", ""), (7, "")]
)
def test_finish_reasons_are_few(reason: Any, named: str) -> None:
    assert read(chat({"content": "x"}, reason=reason), OPENAI).finish == (named,)


def test_declared_paths_lead_into_the_document() -> None:
    prediction = declared("openai", label="choices.0.message.content")
    assert values(read(chat({"content": "spam"}), prediction)) == [
        [("label", "spam", "choices.0.message.content")]
    ]
    assert read(chat({"content": "spam"}), declared("auto", label="category")).unread == "missing"
    assert read(chat({"content": ""}), prediction).error == "empty"
