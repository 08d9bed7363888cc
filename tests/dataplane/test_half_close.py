"""A client that closes only its half is answered; what looks the same on the wire and is leaving, stops the work."""

from __future__ import annotations

import asyncio

import pytest

from tests.dataplane.plane import Harness, connecting_slowly, route, sticky
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Message, Wire, chunked, get, ok, post, wait_until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def noticed(harness: Harness) -> None:
    await wait_until(
        lambda: any(c.half_closed for c in harness.plane.clients), "the end of its half is noticed"
    )


async def expect_answered(harness: Harness, client: Wire, body: bytes = b"v2") -> None:
    """One final answer in whole, and the orderly end of the connection."""
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, body)
    assert await client.rest() == (b"", "closed")
    cell = await harness.cell("v2")
    assert (cell.codes, cell.abandoned) == ({200: 1}, 0)


@pytest.mark.parametrize("request_", [get(), post(b"hello")], ids=["no body", "body"])
async def test_before_the_first_byte_it_is_asked_and_answered(harness: Harness, request_: bytes) -> None:
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(request_)
    client.half_close()
    await noticed(harness)
    release.set()
    assert await client.exactly(len(CONTINUE)) == CONTINUE
    await expect_answered(harness, client)


async def test_in_an_answer_in_chunks_the_question_is_a_leading_zero(harness: Harness) -> None:
    seen = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        await seen.wait()
        await conversation.send(b"1\r\ny\r\n0\r\n\r\n")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    message = await client.head()
    assert await client.exactly(6) == b"1\r\nx\r\n"
    client.half_close()
    await noticed(harness)
    seen.set()
    assert await client.exactly(7) == b"01\r\ny\r\n"
    assert await client.rest() == (b"0\r\n\r\n", "closed")
    assert message.status == 200
    assert (await harness.cell("v2")).codes == {200: 1}


async def test_at_the_end_of_an_answer_the_zero_is_part_of_the_last_chunk(harness: Harness) -> None:
    seen = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        await seen.wait()
        await conversation.send(b"0\r\n\r\n")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.until(b"1\r\nx\r\n")
    client.half_close()
    await noticed(harness)
    seen.set()
    assert await client.rest() == (b"00\r\n\r\n", "closed")
    assert (await harness.cell("v2")).codes == {200: 1}


async def test_in_an_answer_of_known_length_nothing_is_added(harness: Harness) -> None:
    seen = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await seen.wait()
        await conversation.send(b"lf")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    head = await client.until(b"ha")
    client.half_close()
    await noticed(harness)
    seen.set()
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert await client.rest() == (b"lf", "closed")
    assert (await harness.cell("v2")).codes == {200: 1}


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "while the first is asked"])
async def test_what_was_asked_behind_it_is_answered_as_well(harness: Harness, at_once: bool) -> None:
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(request.first))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get("/1") + get("/2") + get("/3"))
    if at_once:
        release.set()
    else:
        await wait_until(lambda: harness.backends["v2"].requests, "the first is asked")
    client.half_close()
    release.set()
    bodies: list[bytes] = []
    while len(bodies) < 3:
        message = await client.head()
        if message.status == 200:
            await client.body(message)
            bodies.append(message.body)
    assert bodies == [b"GET /%d HTTP/1.1" % n for n in (1, 2, 3)]
    assert await client.rest() == (b"", "closed")
    assert (await harness.cell("v2")).codes == {200: 3}


@pytest.mark.parametrize("rest", [b"GET /", b"\r\n"])
async def test_half_a_request_behind_it_ends_the_connection(harness: Harness, rest: bytes) -> None:
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get() + rest)
    client.half_close()
    await noticed(harness)
    release.set()
    assert await client.exactly(len(CONTINUE)) == CONTINUE
    await expect_answered(harness, client)


async def test_while_a_connection_is_opened(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = connecting_slowly(monkeypatch)
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    client.half_close()
    await noticed(harness)
    opening.set()
    assert await client.exactly(len(CONTINUE)) == CONTINUE
    await expect_answered(harness, client)


async def test_half_an_upload_is_none(harness: Harness) -> None:
    harness.backend("v2", silent)
    harness.use(route("v2", sticky=sticky("json", "id")))
    client = await harness.client()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"{}")[:-2]
    )
    client.half_close()
    assert await client.rest() == (b"", "reset")
    await harness.quiet()
    assert harness.backends["v2"].conversations == []


async def test_http_1_0_knows_no_question_and_has_left(harness: Harness) -> None:
    """RFC 9110 section 15.2: no 1xx to HTTP/1.0."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    await wait_until(lambda: backend.conversations and backend.conversations[0].received, "it is asked")
    client.half_close()
    assert await client.rest() == (b"", "reset")
    assert (await harness.cell("v2")).codes == {499: 1}
    await backend.conversations[0].over()


async def test_one_that_half_closes_and_then_leaves(harness: Harness) -> None:
    """The next byte for it tells, as there is no other sign."""
    left = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        await left.wait()
        await conversation.send(b"1\r\ny\r\n")
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.until(b"1\r\nx\r\n")
    client.half_close()
    await client.exactly(1)
    client.close()
    left.set()
    assert (await harness.cell("v2")).codes == {499: 1}
    await backend.conversations[0].over()
    await wait_until(lambda: not harness.plane.clients, "the connection is gone")
