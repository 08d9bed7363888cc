"""A backend connection is reused only if no request or answer byte is outstanding, so no client gets another client's answer."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.dataplane.listener import CLIENT_SWEEPS
from tests.build import interpreted
from tests.dataplane.plane import Harness, route, settle, sticky
from tests.dataplane.scripted import Conversation, answering, each
from tests.dataplane.wire import Message, at_once, chunked, get, ok, post, wait_until

STRAY = ok(b"stray answer")

SURPLUS = {
    "after a length": ok(b"ok") + STRAY,
    "after chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ok") + STRAY,
    "after no content": b"HTTP/1.1 204 No Content\r\n\r\n" + STRAY,
    "after not modified": b"HTTP/1.1 304 Not Modified\r\n\r\nbody",
    "one byte": ok(b"ok") + b"\n",
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", SURPLUS.values(), ids=SURPLUS)
async def test_bytes_after_an_answer_reach_no_client_and_end_the_connection(
    harness: Harness, raw: bytes, bytewise: bool
) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await (conversation.send_bytewise(raw) if bytewise else conversation.send(raw))

    backend = harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    for n in range(2):
        await client.send(get())
        answer = await client.answer()
        assert answer.status in (200, 204, 304)
        assert answer.body in (b"ok", b"")
        await backend.conversations[n].over()
    assert client.buffer == b""
    assert len(backend.conversations) == 2


async def test_the_body_of_an_answer_to_head_reaches_no_client(harness: Harness) -> None:
    backend = harness.backend("v2", answering(ok(b"body of a HEAD")))
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(2):
        await client.send(get().replace(b"GET", b"HEAD"))
        assert (await client.answer(to="HEAD")).status == 200
    assert client.buffer == b""
    assert len(backend.conversations) == 2


async def test_unsolicited_bytes_end_an_idle_connection(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(b"ok"))
        await settle()
        await conversation.send(STRAY)

    backend = harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    for n in range(2):
        await client.send(get())
        assert (await client.answer()).body == b"ok"
        await backend.conversations[n].over()
    assert (await harness.cell("v2")).errors == 0


async def test_a_connection_closed_by_the_backend_is_not_reused(harness: Harness) -> None:
    """A POST that must not be repeated never fails on a closed connection."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(b"ok"))
        conversation.close()

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    for n in range(20):
        await client.send(post(b"x"))
        assert (await client.answer()).status == 200
        await wait_until(lambda: not endpoint.idle, "the end of the connection is detected")
        assert len(backend.conversations) == n + 1


async def test_a_closing_connection_is_not_reused_before_its_end_is_reported(harness: Harness) -> None:
    """The event loop calls `connection_lost` one iteration after the transport is closed."""
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    endpoint.idle[0].transport.close()
    assert len(endpoint.idle) == 1
    assert endpoint.take() is None


LAST = {
    "says close": ok(b"bye", [b"Connection: close"]),
    "says close among others": ok(b"bye", [b"Connection: x-a, Close"]),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nbye",
}


@pytest.mark.parametrize("raw", LAST.values(), ids=LAST)
async def test_a_backend_connection_that_is_not_persistent_is_closed(harness: Harness, raw: bytes) -> None:
    """The proxy closes the connection; the backend does not."""
    backend = harness.backend("v2", answering(raw))
    harness.use(route("v2"))
    client = await harness.client()
    for n in range(2):
        await client.send(get())
        assert (await client.answer()).body == b"bye"
        await backend.conversations[n].over()
    assert len(backend.conversations) == 2


@interpreted
async def test_a_connection_with_an_unsent_part_of_the_upload_is_not_reused(harness: Harness) -> None:
    """The backend answers before it reads the upload, and the proxy has stopped reading from the client."""
    size = 8 * 1024 * 1024

    async def script(conversation: Conversation) -> None:
        conversation.requests.append(await conversation.head())
        await uploaded.wait()
        await conversation.send(ok(b"early"))
        await asyncio.Event().wait()

    uploaded = asyncio.Event()
    backend = harness.backend("v2", script, receive_buffer=16 * 1024)
    harness.use(route("v2", replay_limit=size))
    client = await harness.client()
    uploading = asyncio.create_task(client.pour(post(b"x" * size)))
    await wait_until(
        lambda: harness.accepted and harness.accepted[0].client.paused,
        "the proxy stops reading from the client",
    )
    uploaded.set()
    answer = await client.answer()
    assert (answer.body, answer.field("connection")) == (b"early", b"close")
    uploading.cancel()
    next_client = await harness.client()
    await next_client.send(post(b"y"))
    assert (await next_client.answer()).body == b"early"
    assert len(backend.conversations) == 2


async def test_a_connection_with_unsent_bytes_in_its_write_buffer_is_not_reused(harness: Harness) -> None:
    """The client has sent the whole request; the proxy has not yet forwarded all of it."""
    size = 6 * 1024 * 1024

    async def script(conversation: Conversation) -> None:
        conversation.requests.append(await conversation.head())
        await complete.wait()
        await conversation.send(ok(b"early"))
        await answered.wait()
        await conversation.watch()

    complete, answered = asyncio.Event(), asyncio.Event()
    backend = harness.backend("v2", script, receive_buffer=16 * 1024)
    harness.use(route("v2", sticky=sticky("json", "id"), inspect_limit=2 * size))
    client = await harness.client()
    uploading = asyncio.create_task(client.pour(post(b'{"x": "%b", "id": 1}' % (b"x" * size))))
    await wait_until(
        lambda: harness.accepted and harness.accepted[0].request_done, "the upload is complete at the proxy"
    )
    (exchange,) = harness.accepted
    await wait_until(
        lambda: backend.conversations and backend.conversations[0].requests, "the head is at the backend"
    )
    assert exchange.upstream is not None
    assert exchange.upstream.transport.get_write_buffer_size() > 0
    await uploading
    complete.set()
    assert (await client.answer()).body == b"early"
    await client.send(post(b"y"))
    assert (await client.answer()).body == b"early"
    assert len(backend.conversations) == 2
    answered.set()
    await backend.conversations[0].over()
    assert len(backend.conversations[0].received) < size, "the rest of the upload is not sent"


async def test_an_idle_connection_is_closed_after_the_idle_limit(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.dataplane.listener.IDLE_LIMIT", 0.1)
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    assert await backend.conversations[0].over() == "closed"
    await client.send(get())
    assert (await client.answer()).status == 200
    assert len(backend.conversations) == 2


@pytest.mark.parametrize(("idle", "kept"), [(3.0, True), (4.4, False)])
async def test_an_idle_connection_is_closed_before_uvicorn_closes_it(
    harness: Harness, idle: float, kept: bool
) -> None:
    """uvicorn closes after 5 s. The proxy checks each 0.5 s, so 4.4 s idle must be closed at the next check."""
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    await wait_until(lambda: endpoint.idle, "the connection is pooled")
    checks = harness.plane.sweeps // CLIENT_SWEEPS
    await wait_until(lambda: harness.plane.sweeps // CLIENT_SWEEPS > checks, "a check has just been done")
    endpoint.idle[0].idle_since = harness.plane.now - idle
    await wait_until(lambda: harness.plane.sweeps // CLIENT_SWEEPS > checks + 1, "the next check is done")
    assert len(endpoint.idle) == kept
    await client.send(get())
    await client.answer()
    assert len(backend.conversations) == (1 if kept else 2)


async def test_a_stale_connection_that_was_never_used_is_replaced(harness: Harness) -> None:
    """Its client left before it was open. The backend closes it on the first request, as with a reused connection."""

    async def script(conversation: Conversation) -> None:
        if conversation.number == 0:
            await conversation.request()
            conversation.close()
        else:
            await answering(ok(b"ok"))(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    leaving_client = await harness.client()
    await leaving_client.send(get())
    await at_once(lambda: harness.plane.tasks)
    next(iter(harness.plane.clients)).abort()
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    await wait_until(lambda: endpoint.idle, "the connection is pooled")
    assert backend.requests == []
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"ok"
    cell = await harness.cell("v2")
    assert (cell.errors, cell.codes) == (0, {499: 1, 200: 1})
    assert cell.failures == {"client_left": 1, "stale_connection": 1}
