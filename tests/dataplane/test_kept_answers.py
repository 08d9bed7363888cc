"""What the observer gets of an answer that comes in parts: of streams the time of each part, and no more than the limits."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.dataplane import kept_answer
from crossfade.quality.json_lines import MEDIA_TYPES as JSON_LINES
from crossfade.quality.prediction import Prediction
from crossfade.quality.samples import AnswerSample
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.wire import Message, get

STREAMS = ["text/event-stream", "Text/Event-Stream; charset=utf-8", *sorted(JSON_LINES)]


async def sample_of(harness: Harness, media_type: str, parts: int = 2, size: int = 8) -> AnswerSample:
    """Of an answer in so many parts, each of `size` bytes."""

    async def slow(conversation: Conversation, request: Message) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {parts * size}\r\n\r\n"
        await conversation.send(head.encode())
        for _ in range(parts):
            await conversation.send(b"1" * (size - 1) + b"\n")
            await asyncio.sleep(0.01)

    harness.backend("v2", each(slow))
    harness.use(route("v2", prediction=Prediction(("p",))))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    (sample,) = harness.plane.recorder.samples.take()
    assert isinstance(sample, AnswerSample)
    return sample


@pytest.mark.parametrize("media_type", STREAMS)
async def test_of_a_stream_the_time_of_each_part_is_kept(harness: Harness, media_type: str) -> None:
    answer = (await sample_of(harness, media_type)).answer
    assert answer is not None
    assert [end for end, _ in answer.pieces][-1] == 16
    times = [seconds for _, seconds in answer.pieces]
    assert times == sorted(times)


async def test_of_another_answer_no_times_are_kept(harness: Harness) -> None:
    answer = (await sample_of(harness, "application/json")).answer
    assert answer is not None
    assert (answer.pieces, answer.body) == ((), b"1111111\n" * 2)


@pytest.mark.parametrize(
    ("media_type", "kept"), [("application/x-ndjson", True), ("application/json", False)]
)
async def test_of_a_stream_above_the_limit_the_beginning_is_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, media_type: str, kept: bool
) -> None:
    for limit in ("STREAMED", "LARGEST"):
        monkeypatch.setattr(kept_answer, limit, 20)
    answer = (await sample_of(harness, media_type, parts=6)).answer
    assert answer is not None
    assert answer.cut
    assert (answer.body is not None and 0 < len(answer.body) <= 20) == kept
