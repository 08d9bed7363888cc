"""Trailers pass to receivers that accept them. No trailer is carried over to the next message."""

from __future__ import annotations

import pytest

from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route
from tests.dataplane.scripted import Conversation, answering, closing, each
from tests.dataplane.wire import Message, get, ok, wait_until

ANSWER = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: X-Hop\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-Sum:7 \r\nX-Hop: 1\r\nContent_Length: 9\r\n"
    b"content-length: 9\r\nTransfer-Encoding: gzip\r\nSet-Cookie: a=b\r\nx-crossfade-backend: evil\r\n\r\n"
)
ACCEPTS_TRAILERS = get(fields=[b"TE: trailers", b"Connection: TE"])
POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\n\r\n"
UPLOAD = (
    b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Hop: 1\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\n"
    b"Content-Length: 9\r\ntransfer-encoding: chunked\r\nAuthorization: evil\r\n\r\n"
)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_trailers_of_an_answer_reach_a_client_that_accepts_them(
    harness: Harness, bytewise: bool
) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await (conversation.send_bytewise(ANSWER) if bytewise else conversation.send(ANSWER))

    backend = harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(2):
        await client.send(ACCEPTS_TRAILERS)
        message = await client.head()
        assert message.field("trailer") == b"X-Sum"
        assert (await client.until(b"\r\n\r\n")).endswith(b"\r\n0\r\nX-Sum: 7\r\n\r\n")
        assert client.buffer == b""
    await harness.quiet()
    assert len(backend.conversations) == 1
    assert [(r.field("te"), r.field("connection")) for r in backend.requests] == [(b"trailers", b"TE")] * 2


async def test_trailers_of_an_answer_are_dropped_without_te_trailers(harness: Harness) -> None:
    backend = harness.backend("v2", answering(ANSWER))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(fields=[b"TE: gzip", b"Connection: TE"]))
    assert (await client.answer()).body == b"hello"
    assert client.buffer == b""
    assert (backend.requests[0].field("te"), backend.requests[0].field("connection")) == (None, None)


async def test_an_http_1_0_client_gets_no_trailers(harness: Harness) -> None:
    harness.backend("v2", answering(ANSWER))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"GET / HTTP/1.0\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
    assert (await client.answer()).body == b"hello"


async def test_trailers_of_a_replaced_answer_do_not_follow_the_fallbacks_answer(harness: Harness) -> None:
    bad = ANSWER.replace(b"200 OK", b"500 Oops")
    harness.backend("v3", answering(bad))
    harness.backend("v2", closing(b"HTTP/1.1 200 OK\r\n\r\nfine"))
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(ACCEPTS_TRAILERS)
    message = await client.head()
    assert (message.status, message.backend) == (200, "v2")
    assert await client.until(b"0\r\n\r\n") == b"4\r\nfine\r\n0\r\n\r\n"


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_trailers_of_a_request_reach_the_backend(harness: Harness, bytewise: bool) -> None:
    async def script(conversation: Conversation) -> None:
        message = await conversation.head()
        conversation.requests.append(message)
        message.body = await conversation.until(b"\r\n\r\n")
        await conversation.send(ok(b"v2"))
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await (client.send_bytewise(POST + UPLOAD) if bytewise else client.send(POST + UPLOAD))
    assert (await client.answer()).body == b"v2"
    (request,) = backend.requests
    assert request.field("transfer-encoding") == b"chunked"
    assert request.field("content-length") is None
    assert request.body.endswith(b"\r\n0\r\nX-Sum: 7\r\n\r\n")
    assert request.body.count(b"0\r\n") == 1


async def test_trailers_that_arrive_before_the_backend_connection_reach_the_backend(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = connecting_slowly(monkeypatch)

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        assert await conversation.until(b"\r\n\r\n") == b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"
        await conversation.send(ok(b"v2"))
        await conversation.watch()

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(POST, UPLOAD[:9])
    await wait_until(lambda: harness.accepted, "the request begins")
    await client.send(UPLOAD[9:])
    await wait_until(lambda: harness.accepted[0].request_done, "the request is complete")
    opening.set()
    assert (await client.answer()).body == b"v2"


async def test_the_fallback_gets_the_trailers_of_the_request(harness: Harness) -> None:
    """The fallback gets the same bytes as the first backend. A mirrored copy has no trailers."""
    seen: list[bytes] = []

    async def handler(conversation: Conversation) -> None:
        head = await conversation.head()
        assert head.field("transfer-encoding") == b"chunked"
        seen.append(await conversation.until(b"\r\n\r\n"))
        status = b"200 OK" if conversation.backend.name == "v2" else b"500 Oops"
        await conversation.send(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
        await conversation.watch()

    harness.backend("v3", handler)
    harness.backend("v2", handler)
    shadow = harness.backend("v4")
    harness.use(route("v3", fallback="v2", pure=True, mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(POST + UPLOAD)
    assert (await client.answer()).status == 200
    assert seen == [b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"] * 2
    await harness.quiet()
    assert shadow.requests[0].body == b"hello"
    assert shadow.requests[0].field("content-length") == b"5"


async def test_a_chunked_request_without_trailers_gets_a_content_length(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(POST + b"5\r\nhello\r\n0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert backend.requests[0].field("content-length") == b"5"
