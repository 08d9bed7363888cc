"""An answer that fails after its first byte never looks complete to the client (law 8). The failure counts against the backend."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, Script, closing
from tests.dataplane.wire import chunked, get, ok, post

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNENDING = b"HTTP/1.1 200 OK\r\n\r\n"
SHORT = 0.5  # seconds; a timeout that must expire, with room for a loaded machine


def answer_then_silence(raw: bytes) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(raw)
        await conversation.watch()

    return script


async def expect_reset_after(harness: Harness, body: bytes) -> None:
    """The client gets a 200 head and this part of the body, then a reset."""
    client = await harness.client()
    await client.send(post(b"x"))
    head = await client.head()
    assert (head.status, head.backend) == (200, "v3")
    rest, end = await client.rest()
    assert rest == body
    assert end == "reset"


TRUNCATED = {
    "length": (LENGTH + b"half", b"half"),
    "chunk": (CHUNKS + b"6\r\nhal", b"3\r\nhal\r\n"),
    "between chunks": (CHUNKS + b"4\r\nhalf\r\n", b"4\r\nhalf\r\n"),
    "last chunk": (CHUNKS + b"4\r\nhalf\r\n0\r\n", b"4\r\nhalf\r\n"),
    "in the trailers": (CHUNKS + b"4\r\nhalf\r\n0\r\nX-T: 1\r\n", b"4\r\nhalf\r\n"),
}


@pytest.mark.parametrize("raw, body", TRUNCATED.values(), ids=TRUNCATED)
async def test_a_truncated_answer_is_reset_and_not_sent_to_the_fallback(
    harness: Harness, raw: bytes, body: bytes
) -> None:
    harness.backend("v3", closing(raw))
    harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True))
    await expect_reset_after(harness, body)
    cell = await harness.cell("v3")
    assert (cell.requests, cell.errors, cell.codes) == (1, 1, {200: 1})
    assert cell.failures == {"body": 1}
    assert harness.backends["v2"].requests == [], "no fallback after the first byte"


MALFORMED = {
    "chunk size": (b"xx\r\n", b"4\r\nhalf\r\n"),
    "chunk end": (b"2\r\nabXX0\r\n\r\n", b"4\r\nhalf\r\n"),
    "trailers": (b"0\r\nno trailer\r\n\r\n", b"4\r\nhalf\r\n"),
}


@pytest.mark.parametrize("rest, body", MALFORMED.values(), ids=MALFORMED)
async def test_an_answer_with_malformed_chunks_is_reset(harness: Harness, rest: bytes, body: bytes) -> None:
    received = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(CHUNKS + b"4\r\nhalf\r\n")
        await received.wait()
        await conversation.send(rest)
        await conversation.watch()

    backend = harness.backend("v3", script)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(get())
    await client.head()
    assert await client.exactly(len(body)) == body
    received.set()
    assert await client.rest() == (b"", "reset")
    assert (await harness.cell("v3")).failures == {"body": 1}
    await backend.conversations[0].over()


@pytest.mark.parametrize("raw", [LENGTH, CHUNKS, UNENDING], ids=["length", "chunked", "until close"])
async def test_a_backend_reset_in_the_body_resets_the_client(harness: Harness, raw: bytes) -> None:
    received = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(raw + (b"4\r\nhalf\r\n" if raw is CHUNKS else b"half"))
        await received.wait()
        conversation.reset()

    harness.backend("v3", script)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(get())
    await client.head()
    await client.until(b"half")
    received.set()
    rest, end = await client.rest()
    assert (rest.strip(), end) == (b"", "reset")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (1, {"body": 1})


@pytest.mark.parametrize("raw", [LENGTH, CHUNKS, UNENDING], ids=["length", "chunked", "until close"])
@pytest.mark.parametrize("idle, total, reason", [(SHORT, None, "body"), (10.0, SHORT, "total_timeout")])
async def test_a_stalled_answer_is_reset_after_its_timeout(
    harness: Harness, raw: bytes, idle: float, total: float | None, reason: str
) -> None:
    script = answer_then_silence(raw + (b"4\r\nhalf\r\n" if raw is CHUNKS else b"half"))
    backend = harness.backend("v3", script, idle_timeout=idle, total_timeout=total)
    harness.use(route("v3"))
    await expect_reset_after(harness, b"half" if raw is LENGTH else b"4\r\nhalf\r\n")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.codes) == (1, {200: 1})
    assert cell.failures == {reason: 1}
    await backend.conversations[0].over()


async def test_an_answer_may_take_longer_than_the_idle_timeout(harness: Harness) -> None:
    """The idle timeout limits the time between two reads, not the time of the whole answer."""
    idle = 1.0

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(CHUNKS)
        for _ in range(8):
            await asyncio.sleep(idle / 5)
            await conversation.send(chunked(b"tick").removesuffix(b"0\r\n\r\n"))
        await conversation.send(b"0\r\n\r\n")

    harness.backend("v3", script, idle_timeout=idle, first_byte_timeout=idle)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"tick" * 8
    assert (await harness.cell("v3")).errors == 0


async def test_a_slow_upload_does_not_consume_the_backend_timeouts(harness: Harness) -> None:
    """The first-byte and idle timeouts of the backend do not run before the request is complete."""
    harness.backend("v3", first_byte_timeout=SHORT, idle_timeout=SHORT)
    harness.use(route("v3"))
    client = await harness.client()
    raw = post(b"12345678")
    await client.send(raw[:-8])
    for n in range(8):
        await asyncio.sleep(SHORT / 4)
        await client.send(b"12345678"[n : n + 1])
    assert (await client.answer()).status == 200
    assert (await harness.cell("v3")).errors == 0


async def test_a_total_timeout_in_an_upload_counts_against_the_client(harness: Harness) -> None:
    harness.backend("v3")
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(get())
    await client.answer()  # opens the connection, so that the total timeout covers the upload only
    harness.specs["v3"] = replace(harness.specs["v3"], total_timeout=SHORT)
    harness.use(route("v3"))
    await client.send(post(b"12345678")[:-3])
    answer = await client.answer()
    assert (answer.status, answer.error) == (408, b"downstream/head_timeout")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.abandoned, cell.duration.count) == (0, 1, 1)


async def test_an_upload_that_stalls_during_the_answer_counts_against_the_client(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(ok(b"12345678")[:-3])
        await conversation.watch()

    harness.backend("v3", script, idle_timeout=SHORT)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(post(b"12345678")[:-3])
    assert (await client.head()).status == 200
    assert await client.rest() == (b"12345", "reset")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.abandoned, cell.duration.count) == (0, 1, 0)


async def test_the_end_of_an_upload_does_not_start_the_first_byte_timeout_again(harness: Harness) -> None:
    """After the first byte of the answer, only the idle timeout counts."""
    uploaded = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(CHUNKS)
        await conversation.exactly(5)
        uploaded.set()
        await asyncio.sleep(1.5 * SHORT)
        await conversation.send(chunked(b"late"))

    harness.backend("v3", script, first_byte_timeout=SHORT)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(post(b"hello").removesuffix(b"hello"))
    head = await client.head()
    await client.send(b"hello")
    await client.body(head)
    assert head.body == b"late"
