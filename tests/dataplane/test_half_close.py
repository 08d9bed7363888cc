"""A client that closes only its sending half still gets its answer.

A client that leaves sends the same FIN, so the proxy probes with bytes that do not change the answer: a 100 (Continue)
before its first byte, a leading zero in a chunk size later. An answer that is not chunked needs no probe: its next
bytes are one. An RST in reply means that the client left.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.dataplane.plane import Harness, connecting_slowly, route, sticky
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Message, Wire, chunked, get, ok, post, wait_until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def half_close_seen(harness: Harness) -> None:
    await wait_until(
        lambda: any(c.half_closed for c in harness.plane.clients), "the proxy sees the half-close"
    )


async def expect_answered(harness: Harness, client: Wire, body: bytes = b"v2") -> None:
    """Expect one complete final answer, then an orderly close."""
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, body)
    assert await client.rest() == (b"", "closed")
    cell = await harness.cell("v2")
    assert (cell.codes, cell.abandoned) == ({200: 1}, 0)


@pytest.mark.parametrize("request_", [get(), post(b"hello")], ids=["no body", "body"])
async def test_a_half_close_before_the_first_byte_gets_a_100_and_the_answer(
    harness: Harness, request_: bytes
) -> None:
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(request_)
    client.half_close()
    await half_close_seen(harness)
    release.set()
    assert await client.exactly(len(CONTINUE)) == CONTINUE
    await expect_answered(harness, client)


async def test_a_half_close_inside_a_chunked_answer_adds_a_leading_zero(harness: Harness) -> None:
    half_closed = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        await half_closed.wait()
        await conversation.send(b"1\r\ny\r\n0\r\n\r\n")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    message = await client.head()
    assert await client.exactly(6) == b"1\r\nx\r\n"
    client.half_close()
    await half_close_seen(harness)
    half_closed.set()
    assert await client.exactly(7) == b"01\r\ny\r\n"
    assert await client.rest() == (b"0\r\n\r\n", "closed")
    assert message.status == 200
    assert (await harness.cell("v2")).codes == {200: 1}


async def test_a_half_close_before_the_last_chunk_adds_a_zero_to_the_last_chunk(harness: Harness) -> None:
    half_closed = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        await half_closed.wait()
        await conversation.send(b"0\r\n\r\n")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.until(b"1\r\nx\r\n")
    client.half_close()
    await half_close_seen(harness)
    half_closed.set()
    assert await client.rest() == (b"00\r\n\r\n", "closed")
    assert (await harness.cell("v2")).codes == {200: 1}


async def test_a_half_close_inside_an_answer_with_a_length_adds_nothing(harness: Harness) -> None:
    half_closed = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await half_closed.wait()
        await conversation.send(b"lf")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    head = await client.until(b"ha")
    client.half_close()
    await half_close_seen(harness)
    half_closed.set()
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert await client.rest() == (b"lf", "closed")
    assert (await harness.cell("v2")).codes == {200: 1}


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "while the first is in flight"])
async def test_pipelined_requests_before_a_half_close_are_answered(harness: Harness, at_once: bool) -> None:
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
        await wait_until(lambda: harness.backends["v2"].requests, "the backend has the first request")
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
async def test_a_partial_request_after_the_first_ends_the_connection(harness: Harness, rest: bytes) -> None:
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        await release.wait()
        await conversation.send(ok(b"v2"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get() + rest)
    client.half_close()
    await half_close_seen(harness)
    release.set()
    assert await client.exactly(len(CONTINUE)) == CONTINUE
    await expect_answered(harness, client)


async def test_a_half_close_while_the_proxy_connects_gets_the_answer(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    client.half_close()
    await half_close_seen(harness)
    opening.set()
    assert await client.exactly(len(CONTINUE)) == CONTINUE
    await expect_answered(harness, client)


async def test_a_half_close_inside_an_inspected_upload_sends_no_request(harness: Harness) -> None:
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


@pytest.mark.parametrize(
    "head, parts",
    [
        (b"Content-Length: 4", (b"ha", b"lf")),
        (b"Transfer-Encoding: chunked", (b"2\r\nha\r\n", b"2\r\nlf\r\n0\r\n\r\n")),
    ],
    ids=["length", "chunked"],
)
async def test_a_client_that_stops_its_upload_for_an_early_answer_gets_all_of_it(
    harness: Harness, head: bytes, parts: tuple[bytes, bytes]
) -> None:
    half_closed = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.until(b"begins")
        await conversation.send(b"HTTP/1.1 413 Content Too Large\r\n" + head + b"\r\n\r\n" + parts[0])
        await half_closed.wait()
        await conversation.send(parts[1])
        await conversation.watch()

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nbegins")
    answer = await client.head()
    client.half_close()
    await half_close_seen(harness)
    half_closed.set()
    await client.body(answer)
    assert (answer.status, answer.body) == (413, b"half")
    assert await client.rest() == (b"", "closed")
    cell = await harness.cell("v2")
    assert (cell.codes, cell.abandoned, cell.failures) == ({413: 1}, 0, {})


async def test_a_half_close_by_an_http_1_0_client_cancels_the_request(harness: Harness) -> None:
    """The proxy cannot probe: a server must not send a 1xx to an HTTP/1.0 client (RFC 9110 section 15.2)."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    await wait_until(
        lambda: backend.conversations and backend.conversations[0].received, "the backend has the request"
    )
    client.half_close()
    assert await client.rest() == (b"", "reset")
    assert (await harness.cell("v2")).codes == {499: 1}
    await backend.conversations[0].over()


async def test_a_client_that_half_closes_and_then_leaves_cancels_the_request(harness: Harness) -> None:
    """Only the RST that answers the next byte shows that the client left."""
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
