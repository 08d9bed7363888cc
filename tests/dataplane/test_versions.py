"""HTTP/1.0 clients, interim (1xx) answers, and Expect: 100-continue."""

from __future__ import annotations

import pytest

from crossfade.routing.snapshot import Match, Rate, Sticky
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, answering, closing, each
from tests.dataplane.wire import Message, chunked, get, ok, post

HTTP_1_0 = b"GET /predict HTTP/1.0\r\n\r\n"
HTTP_1_0_KEEP_ALIVE = b"GET /predict HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello ", b"world")
UNTIL_CLOSE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nhello world"


@pytest.mark.parametrize(
    "script", [answering(CHUNKED_ANSWER), closing(UNTIL_CLOSE_ANSWER)], ids=["chunked", "until close"]
)
@pytest.mark.parametrize("request_", [HTTP_1_0, HTTP_1_0_KEEP_ALIVE])
async def test_an_http_1_0_client_gets_no_chunks(harness: Harness, script, request_: bytes) -> None:
    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(request_)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"hello world")
    assert answer.field("transfer-encoding") is None
    assert answer.field("connection") == b"close"


@pytest.mark.parametrize("request_, kept", [(HTTP_1_0, False), (HTTP_1_0_KEEP_ALIVE, True)])
async def test_an_http_1_0_connection_is_kept_only_with_keep_alive(
    harness: Harness, request_: bytes, kept: bool
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(2 if kept else 1):
        await client.send(request_)
        answer = await client.answer()
        assert answer.body == b"v2"
        assert answer.field("connection") == (b"keep-alive" if kept else b"close")
    if not kept:
        assert await client.rest() == (b"", "closed")
    assert backend.requests[0].first == b"GET /predict HTTP/1.1"
    assert backend.requests[0].field("host") == b"127.0.0.1:%d" % backend.port


async def test_an_error_answer_closes_an_http_1_0_connection(harness: Harness) -> None:
    """Without `Connection: keep-alive` in the answer, an HTTP/1.0 client reads until the connection closes."""
    harness.refusing("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(HTTP_1_0_KEEP_ALIVE)
    raw, how = await client.rest()
    assert raw.startswith(b"HTTP/1.1 502 ")
    assert how == "closed"


async def test_an_incomplete_answer_resets_an_http_1_0_connection(harness: Harness) -> None:
    """Without a length or chunks, only a reset tells the client that the answer is incomplete (law 8)."""
    harness.backend("v2", closing(CHUNKED_ANSWER[:-5]))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(HTTP_1_0)
    head = await client.head()
    assert head.status == 200
    assert await client.rest() == (b"hello world", "reset")
    assert (await harness.cell("v2")).failures == {"body": 1}


async def test_interim_answers_are_relayed_and_never_final(harness: Harness) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    harness.backend("v2", answering(b"HTTP/1.1 100 Continue\r\n\r\n" + hints * 2 + ok(b"done")))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    assert (await client.head()).head == hints
    assert (await client.head()).head == hints
    assert (await client.answer()).body == b"done"
    await client.send(HTTP_1_0)
    assert (await client.head()).status == 200, "an HTTP/1.0 client gets no 1xx"


async def test_5000_interim_answers_are_relayed(harness: Harness) -> None:
    count = 5000
    harness.backend("v2", answering(b"HTTP/1.1 102 Processing\r\n\r\n" * count + ok(b"done")))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    for _ in range(count):
        assert (await client.head()).status == 102
    assert (await client.answer()).body == b"done"


async def test_interim_answers_that_arrive_byte_by_byte_are_relayed(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send_bytewise(b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n" + ok(b"done"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    assert (await client.head()).field("x-a") == b"1"
    assert (await client.answer()).body == b"done"


async def test_expect_with_a_body_that_has_arrived_gets_no_100(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"hello", fields=[b"Expect: 100-continue"]))
    assert (await client.head()).status == 200


async def test_expect_with_a_body_over_the_limit_is_a_413_before_the_body(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", body_limit=4))
    client = await harness.client()
    await client.send(post(b"hello", fields=[b"Expect: 100-continue"]).removesuffix(b"hello"))
    answer = await client.answer()
    assert (answer.status, answer.error) == (413, b"downstream/limits")


async def test_expect_of_a_refused_request_gets_no_100(harness: Harness) -> None:
    """A 100 would make the client send a body that nobody reads."""
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(Sticky("client_ip"), per_second=0.001, burst=1)))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await client.send(post(b"hello", fields=[b"Expect: 100-continue"]).removesuffix(b"hello"))
    assert (await client.head()).status == 429


async def test_expect_with_a_body_over_the_limit_of_another_route_gets_a_100(harness: Harness) -> None:
    for name in ("v2", "v3"):
        harness.backend(name)
    new = Match(json=(("model", "new"),))
    harness.use(route("v3", name="new", match=new, body_limit=4), route("v2", name="rest"))
    client = await harness.client()
    body = b'{"model": "old"}'
    await client.send(post(body, fields=[b"Expect: 100-continue"]).removesuffix(body))
    assert (await client.head()).status == 100
    await client.send(body)
    assert (await client.answer()).body == b"v2"
