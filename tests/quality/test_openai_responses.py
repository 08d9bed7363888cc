"""OpenAI's `/v1/responses`, whole and streamed."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.quality.answer import StreamTimes
from tests.quality.reading import declared, values
from tests.quality.reading import read as read_whole
from tests.quality.test_streamed import data, read

TARGET = b"/v1/responses"
USAGE = {"input_tokens": 9, "output_tokens": 12, "total_tokens": 21}


def message(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "status": "completed", "content": list(parts)}


def said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None}
CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a":1}'}


def response(*output: Any, **more: Any) -> dict[str, Any]:
    made = {"id": "resp_1", "object": "response", "status": "completed", "error": None, "model": "m"}
    return made | {"output": list(output), "incomplete_details": None, "usage": USAGE} | more


@pytest.mark.parametrize("protocol", ["auto", "openai"])
@pytest.mark.parametrize(
    ("output", "text", "reason"),
    [
        ([THOUGHT, message(said("Hel"), said("lo"))], "Hello", "stop"),
        ([message(said("a")), message(said("b"))], "ab", "stop"),
        ([message({"type": "refusal", "refusal": "I cannot."})], "I cannot.", "stop"),
        ([message(said("x")), CALL], 'xf{"a":1}', "tool_calls"),
        ([{"type": "custom_tool_call", "name": "g", "input": "1+1"}], "g1+1", "tool_calls"),
        ([7, message(7, {"text": 7}), {"type": "message", "content": 7}, message(said("x"))], "x", "stop"),
    ],
)
def test_the_text_of_a_response(protocol: Any, output: list[Any], text: str, reason: str) -> None:
    answer = read_whole(response(*output), declared(protocol), TARGET)
    assert (values(answer), answer.error, answer.unread) == ([[("text", text)]], "", "")
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == ((reason,), 9, 12)


@pytest.mark.parametrize(
    ("document", "error", "unread"),
    [
        (response(), "empty", ""),
        (response(THOUGHT, message()), "empty", ""),
        (response({"type": "image_generation_call", "result": "AAAA"}), "", ""),
        (response(status="failed", error={"code": "server_error", "message": "x"}), "error_member", ""),
        (response(status="failed"), "error_member", ""),
        (response(status="queued"), "", "shape"),
        (response(status="in_progress"), "", "shape"),
        (response(*[message(said("x"))] * 257), "", "size"),
    ],
)
def test_a_response_without_a_text(document: Any, error: str, unread: str) -> None:
    answer = read_whole(document, declared("auto"), TARGET)
    assert (answer.error, answer.unread, any(answer.rows)) == (error, unread, False)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "steered"}, "other"),
        (None, "other"),
    ],
)
def test_why_a_response_is_incomplete(details: Any, reason: str) -> None:
    document = response(message(said("x")), status="incomplete", incomplete_details=details)
    assert read_whole(document, declared("openai"), TARGET).finish == (reason,)


def test_a_declared_name_is_a_path() -> None:
    prediction = declared("openai", label="output.0.content.0.text")
    assert values(read_whole(response(message(said("high"))), prediction, TARGET)) == [
        [("label", "high", "output.0.content.0.text")]
    ]
    stream = [event("completed", response=response(message(said("high"))))]
    assert values(read(stream, prediction)) == [[("label", "high", "output.0.content.0.text")]]


# ── streams ───────────────────────────────────────────────────────────────────────────────────────


def event(kind: str, **more: Any) -> bytes:
    kind = kind if kind == "error" else f"response.{kind}"
    return f"event: {kind}\n".encode() + data({"type": kind} | more)


def delta(text: str, kind: str = "output_text") -> bytes:
    return event(f"{kind}.delta", item_id="1", output_index=0, content_index=0, delta=text)


CREATED = event("created", response=response(status="in_progress", usage=None))
WHOLE = response(THOUGHT, message(said("Hello")))
COMPLETED = event("completed", response=WHOLE)


@pytest.mark.parametrize("protocol", ["auto", "openai", "json"])
def test_a_whole_stream(protocol: Any) -> None:
    parts = [CREATED, delta("hm", "reasoning_text"), delta("Hel"), delta("lo"), COMPLETED]
    answer = read(parts, declared(protocol))
    assert (values(answer), answer.error, answer.unread) == ([[("text", "Hello")]], "", "")
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == (("stop",), 9, 12)
    assert answer.stream == StreamTimes(2.0, (1.0,), 1, 11.0, False)
    assert answer.document == WHOLE


@pytest.mark.parametrize("kind", ["refusal", "function_call_arguments", "custom_tool_call_input"])
def test_what_is_content(kind: str) -> None:
    answer = read([CREATED, delta("x", kind), COMPLETED])
    assert answer.stream is not None
    assert answer.stream.first_token == 1.0


@pytest.mark.parametrize(
    ("end", "error", "unread", "broken"),
    [
        ([], "", "broken", True),
        ([event("completed")], "", "broken", True),
        ([event("completed", response=[7])], "", "broken", True),
        ([event("failed", response=response(status="failed"))], "sse_error", "broken", True),
        ([event("error", code="x", message="y")], "sse_error", "broken", True),
        ([data({"type": "error", "message": "y"})], "sse_error", "broken", True),
        ([event("incomplete", response=WHOLE | {"status": "incomplete"})], "", "", False),
        ([b"data: [DONE]\n\n"], "", "", False),
    ],
)
def test_how_a_stream_ends(end: list[bytes], error: str, unread: str, broken: bool) -> None:
    """The text of a broken one is read as far as it came."""
    answer = read([CREATED, delta("Hel"), delta("lo"), *end])
    assert (answer.error, answer.unread) == (error, unread)
    assert values(answer) == [[("text", "Hello")]]
    assert answer.stream is not None
    assert answer.stream.broken == broken


def test_a_stream_that_is_cut_off_at_the_limit_has_times_and_no_text() -> None:
    answer = read([CREATED, delta("Hel"), delta("lo")], cut=True)
    assert (values(answer), answer.unread) == ([], "size")
    assert answer.stream == StreamTimes(1.0, (1.0,), 1, 1.0)


def test_an_empty_stream_is_an_error() -> None:
    assert read([CREATED, event("completed", response=response())]).error == "empty"
