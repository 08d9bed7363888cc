"""OpenAI's own client through the real proxy: the answers that it takes are the ones that are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crossfade.quality.answer import Answer
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from tests.servers.completions import PAUSE, VECTORS, WORDS, completions
from tests.servers.tapping import Tap, tapped

openai = pytest.importorskip("openai", reason="there is no OpenAI client here: pip install openai")
ASKED: Any = [{"role": "user", "content": "How high is the risk?"}]
TEXT = "".join(WORDS)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[tuple[Any, Tap]]:
    async with (
        completions() as port,
        tapped(tmp_path, port) as (tap, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client, tap


async def last(tap: Tap) -> Answer:
    target, raw = await tap.answers.get()
    return read_answer(raw, target, Prediction(protocol="auto"))


async def test_a_chat(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    said = await openai_client.chat.completions.create(model="m", messages=ASKED)
    answer = await last(tap)
    assert (
        [output.value for row in answer.rows for output in row] == [said.choices[0].message.content] == [TEXT]
    )
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == (("stop",), 7, 5)
    await openai_client.chat.completions.create(model="empty", messages=ASKED)
    assert (await last(tap)).error == "empty"
    await tap.counted(1, "crossfade_bad_answers_total", kind="errors")


async def test_a_streamed_chat(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    stream = await openai_client.chat.completions.create(
        model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    words = [part.choices[0].delta.content async for part in stream if part.choices]
    assert [word for word in words if word] == WORDS
    answer = await last(tap)
    assert [output.value for row in answer.rows for output in row] == [TEXT]
    assert (answer.unread, answer.error, answer.finish, answer.tokens) == ("", "", ("stop",), 5)
    assert answer.stream is not None
    assert answer.stream.first_token is not None
    assert answer.stream.first_token >= PAUSE * 0.9
    assert len(answer.stream.gaps) == len(WORDS) - 1
    assert not answer.stream.broken
    await tap.counted(1, "crossfade_streams_total", end="complete")
    await tap.counted(1, "crossfade_finish_reasons_total", reason="stop")
    await tap.counted(len(WORDS), "crossfade_tokens_total", kind="output")
    await tap.counted(1, "crossfade_first_token_seconds_count")


async def test_a_stream_that_fails(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    stream = await openai_client.chat.completions.create(model="fails", messages=ASKED, stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        async for _ in stream:
            pass
    answer = await last(tap)
    assert (answer.error, answer.unread) == ("sse_error", "broken")
    assert answer.stream is not None
    assert answer.stream.broken
    await tap.counted(1, "crossfade_streams_total", end="broken")
    await tap.counted(1, "crossfade_bad_answers_total", kind="errors")


async def test_completions_and_embeddings(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    said = await openai_client.completions.create(model="m", prompt="?", n=2)
    assert (
        [row[0].value for row in (await last(tap)).rows]
        == [choice.text for choice in said.choices]
        == ["no", "yes"]
    )
    for wanted in ({}, {"encoding_format": "float"}):  # without a word the client asks for base64
        found = await openai_client.embeddings.create(model="m", input=["a", "b"], **wanted)
        rows = [row[0] for row in (await last(tap)).rows]
        assert [list(row.value) for row in rows] == [each.embedding for each in found.data] == VECTORS  # type: ignore[arg-type]
        assert {row.kind for row in rows} == {"embedding"}


async def test_a_response(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    said = await openai_client.responses.create(model="m", input="How high is the risk?")
    answer = await last(tap)
    assert [output.value for row in answer.rows for output in row] == [said.output_text] == [TEXT]
    assert (answer.finish, answer.prompt_tokens, answer.tokens) == (("stop",), 7, 5)


async def test_a_streamed_response(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    stream = await openai_client.responses.create(model="m", input="?", stream=True)
    words = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert words == WORDS
    answer = await last(tap)
    assert [output.value for row in answer.rows for output in row] == [TEXT]
    assert (answer.unread, answer.error, answer.finish, answer.tokens) == ("", "", ("stop",), 5)
    assert answer.stream is not None
    assert answer.stream.first_token is not None
    assert answer.stream.first_token >= 2 * PAUSE * 0.9, "behind the event that only says that it begins"
    assert len(answer.stream.gaps) == len(WORDS) - 1
    await tap.counted(1, "crossfade_streams_total", end="complete")


async def test_a_streamed_response_that_fails(client: tuple[Any, Tap]) -> None:
    openai_client, tap = client
    stream = await openai_client.responses.create(model="fails", input="?", stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        async for event in stream:
            if event.type == "error":
                raise openai.APIError(event.message, None, body=None)
    answer = await last(tap)
    assert (answer.error, answer.unread) == ("sse_error", "broken")
