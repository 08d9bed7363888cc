"""Expect: 100-continue reaches the model, and the model's 100 or its final answer reaches the client (RFC 9110 section 10.1.1)."""

from __future__ import annotations

import pytest

from crossfade.dataplane import expectation
from tests.dataplane.plane import Harness, mirrored, route, settle, sticky
from tests.dataplane.scripted import Conversation, Script, each
from tests.dataplane.wire import Message, Wire, ok, post, wait_until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b'{"customer_id": "c"}'
WHOLE = post(BODY, fields=[b"Expect: 100-continue"])
HEAD = WHOLE.removesuffix(BODY)
LONG = 3600.0  # seconds: the test would not end if the proxy waited for so long


@pytest.fixture(autouse=True)
def long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectation, "WAIT", LONG)


async def read_head(conversation: Conversation) -> Message:
    message = await conversation.head()
    conversation.requests.append(message)
    return message


def continuing(before: bytes = b"", after: bytes = ok(b"done")) -> Script:
    """Answers 100, reads the body, answers."""

    async def script(conversation: Conversation) -> None:
        message = await read_head(conversation)
        await conversation.send(before + CONTINUE)
        await conversation.body(message)
        await conversation.send(after)
        await conversation.watch()

    return script


async def expect_continue(client: Wire) -> None:
    assert await client.until(b"\r\n\r\n") == CONTINUE


async def finish_upload(client: Wire, body: bytes = b"done") -> None:
    await client.send(BODY)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, body), "no second 100"


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"413 Too Large", b"417 Expectation Failed"])
async def test_a_model_that_refuses_by_the_head_gets_no_body(harness: Harness, status: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await read_head(conversation)
        await conversation.send(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nno" % status)
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(HEAD)
    answer = await client.answer()
    assert (answer.status, answer.body) == (int(status[:3]), b"no")
    assert answer.field("connection") == b"close", "the next bytes may be the body or not"
    await backend.conversations[0].over()
    assert backend.requests[0].field("expect") == b"100-continue"
    assert backend.conversations[0].received.endswith(b"\r\n\r\n")
    assert (await harness.cell("v2")).failures == {}


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", CONTINUE])
async def test_the_100_of_the_model_goes_to_the_client_once(harness: Harness, before: bytes) -> None:
    harness.backend("v2", continuing(before))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(HEAD)
    if b"103" in before:
        assert (await client.head()).status == 103
    await expect_continue(client)
    await finish_upload(client)
    await client.send(post(b"x"))  # the connection stays usable


async def test_a_model_that_says_nothing_gets_the_body_after_a_short_wait(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectation, "WAIT", 0.1)
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(HEAD)
    await expect_continue(client)
    await finish_upload(client, b"v2")
    monkeypatch.setattr(expectation, "WAIT", LONG)
    await client.send(HEAD)  # for a minute the endpoint gets no expectation, and the client waits for nothing
    await expect_continue(client)
    await finish_upload(client, b"v2")
    assert [r.field("expect") for r in backend.requests] == [b"100-continue", None]


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
async def test_a_client_that_does_not_wait_is_not_held_up(harness: Harness, length: bool) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    chunks = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(HEAD if length else chunks)
    await wait_until(lambda: backend.conversations)
    await client.send(BODY if length else b"14\r\n" + BODY + b"\r\n0\r\n\r\n")
    assert (await client.answer()).body == b"v2"
    assert backend.requests[0].body == BODY


async def test_a_body_with_its_head_needs_no_expectation(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(WHOLE)
    assert (await client.answer()).body == b"v2"
    assert backend.requests[0].field("expect") is None


async def test_the_proxy_answers_100_where_it_needs_the_body_to_route(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "customer_id")))
    client = await harness.client()
    await client.send(HEAD)
    await expect_continue(client)
    await finish_upload(client, b"v2")
    assert backend.requests[0].field("expect") is None


async def test_a_limit_of_the_proxy_is_answered_without_a_100(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2", body_limit=1))
    client = await harness.client()
    await client.send(HEAD)
    assert (await client.answer()).status == 413
    assert backend.conversations == []


async def test_a_retry_before_the_100_expects_again(harness: Harness) -> None:
    async def reset(conversation: Conversation) -> None:
        await read_head(conversation)
        conversation.reset()

    first = harness.backend("v2", reset)
    second = harness.another_endpoint("v2", reset)
    harness.use(route("v2", pure=True))
    client = await harness.client()
    await client.send(HEAD)
    assert (await client.answer()).status == 502
    assert [r.field("expect") for r in first.requests + second.requests] == [b"100-continue"] * 2


async def test_a_retry_after_the_100_has_the_body_and_no_expectation(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        message = await read_head(conversation)
        if message.field("expect"):
            await conversation.send(CONTINUE)
            await conversation.body(message)
            conversation.reset()
        else:
            await conversation.body(message)
            await conversation.send(ok(message.body))

    harness.backend("v2", script)
    harness.another_endpoint("v2", script)
    harness.use(route("v2", pure=True))
    client = await harness.client()
    await client.send(HEAD)
    await expect_continue(client)
    await finish_upload(client, BODY)


async def test_a_fallback_is_asked_in_place_of_a_model_that_refuses_with_503(harness: Harness) -> None:
    async def busy(conversation: Conversation) -> None:
        await read_head(conversation)
        await conversation.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    harness.backend("v3", busy)
    fallback = harness.backend("v2", continuing())
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    await client.send(HEAD)
    await expect_continue(client)
    await finish_upload(client)
    assert fallback.requests[0].field("expect") == b"100-continue"


async def test_a_copy_has_no_expectation(harness: Harness) -> None:
    harness.backend("v2", continuing())
    copies = harness.backend("v3")
    harness.use(route("v2", mirrors=mirrored("v3")))
    client = await harness.client()
    await client.send(HEAD)
    await expect_continue(client)
    await finish_upload(client)
    await wait_until(lambda: copies.requests)
    assert (copies.requests[0].field("expect"), copies.requests[0].body) == (None, BODY)


async def test_a_100_that_nobody_waits_for_is_dropped(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(CONTINUE + ok(b"v2"))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    assert (await client.answer()).status == 200


async def test_a_client_that_leaves_before_the_100_costs_the_model_nothing(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await read_head(conversation)
        await conversation.watch()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(HEAD)
    await wait_until(lambda: backend.requests)
    client.close()
    await backend.conversations[0].over()
    await settle()
    cell = await harness.cell("v2")
    assert (cell.errors, cell.failures) == (0, {"client_left": 1})
