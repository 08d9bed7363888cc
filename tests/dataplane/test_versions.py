"""HTTP/1.0 clients, and the answers that are never final."""

from __future__ import annotations

import pytest

from crossfade.routing.snapshot import Match, Rate, Sticky
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, answering, closing, each
from tests.dataplane.wire import Message, chunked, get, ok, post

OLD = b"GET /predict HTTP/1.0\r\n\r\n"
OLD_KEPT = b"GET /predict HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello ", b"world")
UNENDING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nhello world"


@pytest.mark.parametrize("script", [answering(CHUNKS), closing(UNENDING)], ids=["chunked", "until close"])
@pytest.mark.parametrize("request_", [OLD, OLD_KEPT])
async def test_an_old_client_gets_no_chunks(harness: Harness, script, request_: bytes) -> None:
    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(request_)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"hello world")
    assert answer.field("transfer-encoding") is None
    assert answer.field("connection") == b"close"


@pytest.mark.parametrize("request_, kept", [(OLD, False), (OLD_KEPT, True)])
async def test_an_old_client_keeps_its_connection_if_it_asks(
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


async def test_an_old_client_is_not_left_waiting_behind_an_error(harness: Harness) -> None:
    """An answer without `Connection: keep-alive` ends an HTTP/1.0 connection: the client reads to its end."""
    harness.refusing("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(OLD_KEPT)
    raw, how = await client.rest()
    assert raw.startswith(b"HTTP/1.1 502 ")
    assert how == "closed"


async def test_a_cut_answer_never_looks_complete_to_an_old_client(harness: Harness) -> None:
    """Without a length or chunks, only a reset tells it from the end (law 8)."""
    harness.backend("v2", closing(CHUNKS[:-5]))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(OLD)
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
    await client.send(OLD)
    assert (await client.head()).status == 200, "HTTP/1.0 knows no 1xx"


async def test_any_number_of_interim_answers(harness: Harness) -> None:
    count = 5000
    harness.backend("v2", answering(b"HTTP/1.1 102 Processing\r\n\r\n" * count + ok(b"done")))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    for _ in range(count):
        assert (await client.head()).status == 102
    assert (await client.answer()).body == b"done"


async def test_interim_answers_piecemeal(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send_bytewise(b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n" + ok(b"done"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    assert (await client.head()).field("x-a") == b"1"
    assert (await client.answer()).body == b"done"


async def test_expect_is_answered_here_and_not_passed_on(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    head = post(b"hello", fields=[b"Expect: 100-continue"]).removesuffix(b"hello")
    await client.send(head)
    assert (await client.head()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"hello")
    assert (await client.answer()).body == b"v2"
    assert backend.requests[0].body == b"hello"
    assert backend.requests[0].field("expect") is None


async def test_expect_with_its_body_at_hand_is_not_answered(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"hello", fields=[b"Expect: 100-continue"]))
    assert (await client.head()).status == 200


async def test_expect_for_a_body_over_the_limit_is_refused_at_once(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", body_limit=4))
    client = await harness.client()
    await client.send(post(b"hello", fields=[b"Expect: 100-continue"]).removesuffix(b"hello"))
    answer = await client.answer()
    assert (answer.status, answer.error) == (413, b"downstream/limits")


async def test_expect_is_not_answered_before_a_refusal(harness: Harness) -> None:
    """The body would be sent for nothing."""
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(Sticky("client_ip"), per_second=0.001, burst=1)))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await client.send(post(b"hello", fields=[b"Expect: 100-continue"]).removesuffix(b"hello"))
    assert (await client.head()).status == 429


async def test_expect_with_a_body_over_the_limit_of_another_route(harness: Harness) -> None:
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
