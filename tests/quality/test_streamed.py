"""Event streams: what they say, and when."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.answer import Answer, RawAnswer, StreamTimes
from crossfade.quality.event_stream import Event, events_of
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from crossfade.quality.stream_times import Arrivals, times_of
from tests.quality.reading import declared, values

AUTO = declared("auto")
HEAD = b"Content-Type: text/event-stream; charset=utf-8\r\n"
DONE = b"data: [DONE]\n\n"


def data(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(content: str | None = None, index: int = 0, reason: str | None = None, **more: Any) -> bytes:
    part = ({} if content is None else {"content": content}) | more
    return data(
        {
            "object": "chat.completion.chunk",
            "choices": [{"index": index, "delta": part, "finish_reason": reason}],
        }
    )


ROLE = delta("", role="assistant")
STOP = delta(reason="stop")
USAGE = data({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}})


def read(
    parts: Sequence[bytes],
    prediction: Prediction = AUTO,
    head: bytes = HEAD,
    packed: bytes | None = None,
    **more: Any,
) -> Answer:
    """Part i comes at second i."""
    body = b"".join(parts)
    pieces = tuple((sum(map(len, parts[: index + 1])), float(index)) for index in range(len(parts)))
    raw = RawAnswer(200, head, body if packed is None else packed, float(len(parts)), pieces=pieces, **more)
    return read_answer(raw, b"/v1/chat/completions", prediction)


@pytest.mark.parametrize("protocol", ["auto", "openai", "json"])
def test_a_whole_chat(protocol: Any) -> None:
    answer = read([ROLE, delta("Hel"), delta("lo"), STOP, USAGE, DONE], declared(protocol))
    assert (values(answer), answer.error, answer.unread) == ([[("text", "Hello")]], "", "")
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == (("stop",), 3, 5)
    assert answer.stream == StreamTimes(1.0, (1.0,), 1, 4.0, False)


def test_the_document_is_that_of_a_whole_answer() -> None:
    first = data({"id": "1", "model": "m", "object": "chat.completion.chunk", "choices": []})
    prediction = declared("auto", label="choices.0.message.content")
    answer = read([first, delta("sp"), delta("am"), STOP, USAGE, DONE], prediction)
    message = {"role": "assistant", "content": "spam"}
    assert answer.document == {
        "id": "1",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
    assert values(answer) == [[("label", "spam", "choices.0.message.content")]]
    text = data({"choices": [{"index": 0, "text": "a", "finish_reason": None}]})
    assert read([text, DONE]).document == {
        "choices": [{"index": 0, "text": "a", "finish_reason": None}],
        "usage": None,
    }


def test_completions_and_several_choices() -> None:
    chunks = [(1, "b"), (0, "a"), (1, "B"), (0, "A")]
    parts = [
        data({"choices": [{"index": index, "text": text, "finish_reason": None}]}) for index, text in chunks
    ]
    ends = [data({"choices": [{"index": index, "text": "", "finish_reason": "length"}]}) for index in (0, 1)]
    answer = read([*parts, *ends])
    assert values(answer) == [[("text", "aA")], [("text", "bB")]]
    assert (answer.finish, answer.unread) == (("length", "length"), "")


def test_calls_of_tools_are_content() -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": "{}"}}
    answer = read(
        [ROLE, delta(tool_calls=[call]), delta(tool_calls=[rest]), delta(reason="tool_calls"), DONE]
    )
    assert (values(answer), answer.error) == ([[("text", "f{}")]], "")
    assert answer.stream is not None
    assert (answer.stream.first_token, answer.stream.gaps) == (1.0, (1.0,))


@pytest.mark.parametrize(
    ("parts", "more", "rows", "unread", "error", "broken"),
    [
        ([delta("a"), STOP], {}, ["a"], "", "", False),
        ([delta("a"), DONE], {}, ["a"], "", "", False),
        ([delta("a"), DONE], {"broken": True}, ["a"], "", "", False),
        ([delta("a"), DONE], {"cut": True}, ["a"], "", "", False),
        ([delta("a"), delta("b")], {}, ["ab"], "broken", "", True),
        ([delta("a"), delta("b")[:-9]], {"broken": True}, ["a"], "broken", "", True),
        ([delta("a")], {"cut": True}, [], "size", "", False),
        ([delta("a")], {"cut": True, "broken": True}, [], "broken", "", True),
        ([ROLE], {"broken": True}, [], "broken", "", False),
        ([ROLE, STOP, DONE], {}, [], "", "empty", False),
        ([data({"choices": []}), DONE], {}, [], "", "empty", False),
        ([data({"error": {"message": "out of memory"}})], {}, [], "", "sse_error", False),
        ([delta("a"), data({"error": {"message": "x"}}), DONE], {}, ["a"], "broken", "sse_error", True),
        ([delta("a"), b"event: error\ndata: out of memory\n\n"], {}, ["a"], "broken", "sse_error", True),
        ([delta("a"), data({"object": "error", "message": "x"})], {}, ["a"], "broken", "sse_error", True),
        ([delta("a"), b"data: no json\n\n", STOP], {}, ["a"], "not_json", "", False),
        ([delta("a"), b'data: "\xff"\n\n', STOP], {}, ["a"], "utf8", "", False),
        ([delta("a"), b"data: " + b"[" * 100_000 + b"\n\n", STOP], {}, ["a"], "depth", "", False),
        (
            [data({"choices": 7}), data({"choices": [7, {"delta": 7, "text": 7}]}), DONE],
            {},
            [],
            "",
            "empty",
            False,
        ),
    ],
)
def test_how_a_completion_ends(
    parts: list[bytes], more: Any, rows: list[str], unread: str, error: str, broken: bool
) -> None:
    answer = read(parts, **more)
    assert [output.value for row in answer.rows for output in row] == rows
    assert (answer.unread, answer.error) == (unread, error)
    assert answer.stream is not None
    assert answer.stream.broken is broken


def test_of_openai_a_stream_without_chunks_is_no_completion() -> None:
    assert read([b"data: x\n\n", DONE], declared("openai")).error == "empty"


def test_many_choices() -> None:
    answer = read([delta("x", index) for index in range(300)] + [DONE])
    assert (len(answer.rows), answer.unread) == (256, "size")


def test_another_api_says_its_last_document() -> None:
    parts = [data({"progress": 0.5}), b": still here\n\n", data({"p": 0.25}), b"data: bye\n\n"]
    answer = read(parts, declared("auto", score="p"))
    assert (values(answer), answer.document, answer.unread) == ([[("score", 0.25, "p")]], {"p": 0.25}, "")
    assert answer.stream == StreamTimes(0.0, (2.0, 1.0), 2, 2 / 3, False)


@pytest.mark.parametrize(
    ("parts", "more", "unread", "error", "broken"),
    [
        ([data({"p": 1})], {}, "", "", False),
        ([data({"q": 1})], {}, "missing", "", False),
        ([], {}, "missing", "", False),
        ([data({"p": 1})], {"broken": True}, "broken", "", True),
        ([], {"broken": True}, "broken", "", False),
        ([data({"p": 1})], {"cut": True}, "size", "", False),
        ([data({"p": 1}), data({"error": "x"})], {}, "", "sse_error", False),
        ([data({"p": None})], {}, "", "not_a_number", False),
    ],
)
def test_how_another_stream_ends(
    parts: list[bytes], more: Any, unread: str, error: str, broken: bool
) -> None:
    answer = read(parts, declared("auto", score="p"), **more)
    assert (answer.unread, answer.error) == (unread, error)
    assert answer.stream is not None
    assert answer.stream.broken is broken


def test_a_packed_stream_has_the_times_of_its_content() -> None:
    packer = zlib.compressobj(wbits=31)
    parts = [
        packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH)
        for each in (ROLE, delta("a"), delta("b"), STOP)
    ]
    head = HEAD + b"Content-Encoding: gzip\r\n"
    whole = read([*parts, packer.flush()], head=head)
    assert (values(whole), whole.unread) == ([[("text", "ab")]], "")
    assert whole.stream == StreamTimes(1.0, (1.0,), 1, 1.0, False)
    assert read(parts, head=head).unread == "corrupt"
    assert read(parts[:-1], head=head, broken=True).unread == "broken"


def test_hostile_streams() -> None:
    bomb = gzip.compress(b"data: x\n\n" * 1_000_000)
    assert read([b""], head=HEAD + b"Content-Encoding: gzip\r\n", packed=bomb).unread == "size"
    many = read([b"data: x\n\n" * 20_001])
    assert many.unread == "size"
    assert many.stream is not None
    assert len(many.stream.gaps) == 19_999
    lines = read([delta("a"), b"\n" * 100_000])
    assert (lines.unread, lines.rows) == ("size", ())
    assert read([delta("a"), b"x" * 4_000_000]).unread == "broken"  # one line
    assert read_answer(RawAnswer(200, HEAD, None), b"/", AUTO).unread == "size"
    odd = RawAnswer(200, HEAD, delta("a") + STOP, 3.0, pieces=((-5, 1.0), (10**9, 0.5), (3, 2.0)))
    assert read_answer(odd, b"/", AUTO).stream == StreamTimes(0.5)


def test_without_pieces_all_came_at_the_end() -> None:
    raw = RawAnswer(200, HEAD, delta("a") + delta("b") + STOP, 3.0)
    assert read_answer(raw, b"/", AUTO).stream == StreamTimes(3.0, (0.0,))


def test_another_media_type_is_no_stream() -> None:
    head = b"X-Accepts: text/event-stream\r\nContent-Type: application/json\r\n"
    raw = RawAnswer(200, head, b'{"p": 0.5}')
    assert values(read_answer(raw, b"/", declared(score="p"))) == [[("score", 0.5, "p")]]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [Event(b"", b"a", 9)]),
        (b"data:a\r\n\r\n", [Event(b"", b"a", 10)]),
        (b"data: a\r\r", [Event(b"", b"a", 9)]),
        (b"data: a\ndata:  b\n\n", [Event(b"", b"a\n b", 18)]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [Event(b"error", b"a", 22), Event(b"", b"b", 31)]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"", b"a", 12)]),
        (b": comment\nid: 7\nretry: 5\ndata\n\n", [Event(b"", b"", 31)]),
        (b"event: x\n\n\n\n", []),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"", []),
    ],
)
def test_events(stream: bytes, events: list[Event]) -> None:
    assert events_of(stream) == (events, False)


@given(
    st.lists(st.sampled_from([b"data: x", b"data", b"event: e", b"\n", b"\r", b"\r\n", b":", b"\xff"])).map(
        b"".join
    )
)
def test_events_end_inside_of_the_stream_and_in_order(stream: bytes) -> None:
    ends = [event.end for event in events_of(stream).events]
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(stream) for end in ends)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 9)), max_size=9), st.integers(1, 600))
def test_bytes_came_with_the_first_piece_that_has_them(steps: list[tuple[int, float]], end: int) -> None:
    ends: list[int] = []
    for length, _ in steps:
        ends.append(length + (ends[-1] if ends else 0))
    seconds = [second for _, second in steps]
    expected = next((second for upto, second in zip(ends, seconds, strict=True) if upto >= end), 99.0)
    assert Arrivals(ends, seconds, 99.0).at(end) == expected


@pytest.mark.parametrize(
    ("moments", "tokens", "times"),
    [
        ([], 7, StreamTimes(None)),
        ([1.0], 7, StreamTimes(1.0)),
        ([1.0, 1.5, 3.5], None, StreamTimes(1.0, (0.5, 2.0), 1, 0.8)),
        ([1.0, 1.5, 3.5], 11, StreamTimes(1.0, (0.5, 2.0), 1, 4.0)),
        ([1.0, 2.0], 0, StreamTimes(1.0, (1.0,), 1)),
        ([2.0, 1.0], None, StreamTimes(2.0, (0.0,), 0)),
    ],
)
def test_times(moments: list[float], tokens: int | None, times: StreamTimes) -> None:
    assert times_of(moments, tokens, False) == times
