"""Answers with a JSON document in each line: rows, and the texts of Ollama."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.answer import Answer, RawAnswer, StreamTimes
from crossfade.quality.event_stream import MOST_EVENTS
from crossfade.quality.json_lines import MEDIA_TYPES, lines_of
from crossfade.quality.reading import read_answer
from tests.quality.reading import declared, values
from tests.quality.reading import read as read_whole
from tests.quality.test_streamed import delta
from tests.quality.test_streamed import read as read_stream

HEAD = b"Content-Type: application/x-ndjson\r\n"


def line(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def read(parts: list[bytes], prediction: Any = None, **more: Any) -> Answer:
    return read_stream(parts, prediction or declared("auto"), HEAD, **more)


@pytest.mark.parametrize("media_type", sorted(MEDIA_TYPES))
def test_each_line_is_a_row(media_type: str) -> None:
    head = f"content-type: {media_type}; charset=utf-8\r\n".encode()
    raw = RawAnswer(200, head, line({"p": 0.25}) + b"\r\n" + line({"p": 0.75})[:-1], 2.0)
    answer = read_answer(raw, b"/", declared(score="p"))
    assert values(answer) == [[("score", 0.25, "p")], [("score", 0.75, "p")]]
    assert (answer.document, answer.error, answer.unread) == ([{"p": 0.25}, {"p": 0.75}], "", "")
    assert answer.stream == StreamTimes(2.0, (0.0,))


@pytest.mark.parametrize(
    ("parts", "error", "unread", "rows"),
    [
        ([line({"p": 0.5}), line({"q": 1})], "", "missing", 2),
        ([line({"p": 0.5}), line({"p": None})], "not_a_number", "", 2),
        ([line({"p": 0.5}), b"no json\n"], "", "not_json", 2),
        ([line({"p": 0.5}), line({"error": "out of memory"})], "sse_error", "", 0),
        ([], "", "", 0),
    ],
)
def test_what_is_wrong_with_a_line(parts: list[bytes], error: str, unread: str, rows: int) -> None:
    answer = read(parts, declared("auto", score="p"))
    assert (answer.error, answer.unread, len(answer.rows)) == (error, unread, rows)


def test_a_row_is_that_of_its_line() -> None:
    answer = read([line({"q": 1}), line({"p": 0.5})], declared(score="p"))
    assert values(answer) == [[], [("score", 0.5, "p")]]


def test_without_a_declared_name_nothing_is_read_and_all_is_compared() -> None:
    answer = read([line({"p": 0.5}), line([1])])
    assert (values(answer), answer.document, answer.unread) == ([], [{"p": 0.5}, [1]], "")


@pytest.mark.parametrize(("how", "reason"), [({"cut": True}, "size"), ({"broken": True}, "broken")])
def test_lines_that_did_not_all_come(how: dict[str, bool], reason: str) -> None:
    answer = read([line({"p": 0.5}), b'{"p": 0.'], declared(score="p"), **how)
    assert (values(answer), answer.unread) == ([], reason)


def test_too_many_lines() -> None:
    assert read([b"1\n" * (MOST_EVENTS + 1)]).unread == "size"
    assert read([b"1\n" * MOST_EVENTS]).unread == ""


def test_chunks_of_openai_may_come_in_lines() -> None:
    chunks = [part.removeprefix(b"data: ") for part in (delta("Hel"), delta("lo"), delta(reason="stop"))]
    answer = read(chunks)
    assert (values(answer), answer.finish) == ([[("text", "Hello")]], ("stop",))


@given(
    st.lists(st.sampled_from([b"1", b"\n", b"\r\n", b" ", b'{"a":2}']), max_size=12).map(b"".join),
    st.booleans(),
)
def test_lines_hold_all_but_white_space_and_end_in_order(stream: bytes, whole: bool) -> None:
    found = lines_of(stream, whole).events
    kept = stream if whole else stream[: stream.rfind(b"\n") + 1]
    assert [event.data for event in found] == [each.strip() for each in kept.split(b"\n") if each.strip()]
    ends = [event.end for event in found]
    assert ends == sorted(set(ends))
    assert all(end <= len(stream) for end in ends)


# ── Ollama ────────────────────────────────────────────────────────────────────────────────────────


def chat(content: str, done: bool = False, **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content} | more.pop("message", {})
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": said, "done": done} | more


def generated(response: str, done: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": "m", "response": response, "done": done} | more


ENDED: dict[str, Any] = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}


@pytest.mark.parametrize("protocol", ["auto", "json"])
@pytest.mark.parametrize("said", [chat, generated])
def test_a_streamed_text(said: Any, protocol: Any) -> None:
    answer = read([line(said("Hel")), line(said("lo")), line(said("", **ENDED))], declared(protocol))
    assert (values(answer), answer.error, answer.unread) == ([[("text", "Hello")]], "", "")
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == (("stop",), 9, 3)
    assert answer.stream == StreamTimes(0.0, (1.0,), 1, 2.0)
    assert answer.document == said("Hello", **ENDED)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"thinking": "hm"}, "x"),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, 'xf{"a":1}'),
        ({"tool_calls": [7, {"function": 7}, {"function": {"name": 7}}]}, "x"),
    ],
)
def test_what_is_content(message: Any, text: str) -> None:
    whole = chat("x", **ENDED, message=message)
    assert values(read([line(whole)])) == [[("text", text)]]
    assert values(read_whole(whole, declared("auto"), b"/api/chat")) == [[("text", text)]]


def test_thinking_is_no_first_token() -> None:
    answer = read([line(chat("", message={"thinking": "hm"})), line(chat("x", **ENDED))])
    assert answer.stream == StreamTimes(1.0)


def test_a_stream_without_its_last_line_is_broken() -> None:
    answer = read([line(chat("Hel")), line(chat("lo"))])
    assert (values(answer), answer.unread) == ([[("text", "Hello")]], "broken")
    assert answer.stream is not None
    assert answer.stream.broken
    assert answer.document is None


def test_a_stream_that_fails() -> None:
    answer = read([line(chat("Hel")), line({"error": "out of memory"})])
    assert (answer.error, answer.unread) == ("sse_error", "broken")


def test_a_whole_answer() -> None:
    answer = read_whole(generated("Hello", **ENDED), declared("auto"), b"/api/generate")
    assert (values(answer), answer.finish, answer.tokens, answer.stream) == (
        [[("text", "Hello")]],
        ("stop",),
        3,
        None,
    )
    assert read_whole(generated("", **ENDED), declared("auto")).error == "empty"
    assert read_whole(generated("x", error="y"), declared("auto")).error == "error_member"
    by_path = declared("auto", label="response")
    assert values(read_whole(generated("high", **ENDED), by_path)) == [[("label", "high", "response")]]
