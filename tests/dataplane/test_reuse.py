"""A connection is used again only if nothing is owed on it either way: an answer goes to whom it is due."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.dataplane.listener import CLIENT_SWEEPS
from tests.dataplane.plane import Harness, route, settle, sticky
from tests.dataplane.scripted import Conversation, answering, each
from tests.dataplane.wire import Message, at_once, chunked, get, ok, post, wait_until

STRAY = ok(b"somebody else's")

SURPLUS = {
    "behind a length": ok(b"ok") + STRAY,
    "behind chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ok") + STRAY,
    "behind no content": b"HTTP/1.1 204 No Content\r\n\r\n" + STRAY,
    "behind not modified": b"HTTP/1.1 304 Not Modified\r\n\r\nbody",
    "one byte": ok(b"ok") + b"\n",
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw", SURPLUS.values(), ids=SURPLUS)
async def test_surplus_bytes_go_to_nobody(harness: Harness, raw: bytes, bytewise: bool) -> None:
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


async def test_a_body_behind_a_head_answer_goes_to_nobody(harness: Harness) -> None:
    backend = harness.backend("v2", answering(ok(b"body of a HEAD")))
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(2):
        await client.send(get().replace(b"GET", b"HEAD"))
        assert (await client.answer(to="HEAD")).status == 200
    assert client.buffer == b""
    assert len(backend.conversations) == 2


async def test_unsolicited_bytes_on_an_idle_connection_end_it(harness: Harness) -> None:
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


async def test_a_connection_that_the_backend_closed_is_not_used(harness: Harness) -> None:
    """Even a POST that must not be repeated meets no dead connection."""

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
        await wait_until(lambda: not endpoint.idle, "its end is noticed")
        assert len(backend.conversations) == n + 1


async def test_a_connection_whose_end_is_only_about_to_be_told_is_not_used(harness: Harness) -> None:
    """Between the end of a connection and the news of it lies a turn of the event loop."""
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
async def test_a_connection_that_is_to_be_closed_is_not_used_again(harness: Harness, raw: bytes) -> None:
    """Even if the backend does not close it."""
    backend = harness.backend("v2", answering(raw))
    harness.use(route("v2"))
    client = await harness.client()
    for n in range(2):
        await client.send(get())
        assert (await client.answer()).body == b"bye"
        await backend.conversations[n].over()
    assert len(backend.conversations) == 2


async def test_an_answer_before_its_request_was_read_leaves_a_dirty_connection(harness: Harness) -> None:
    """The upload is complete for the client, but part of it still waits here to be sent on."""
    size = 8 * 1024 * 1024

    async def script(conversation: Conversation) -> None:
        conversation.requests.append(await conversation.head())
        await uploaded.wait()
        await conversation.send(ok(b"early"))
        await asyncio.Event().wait()

    uploaded = asyncio.Event()
    backend = harness.backend("v2", script, receive_buffer=16 * 1024)
    harness.use(route("v2", inspect_limit=size))
    client = await harness.client()
    pouring = asyncio.create_task(client.pour(post(b"x" * size)))
    await wait_until(lambda: harness.accepted and not harness.accepted[0].client.reading, "it is stopped")
    uploaded.set()
    answer = await client.answer()
    assert (answer.body, answer.field("connection")) == (b"early", b"close")
    pouring.cancel()
    other = await harness.client()
    await other.send(post(b"y"))
    assert (await other.answer()).body == b"early"
    assert len(backend.conversations) == 2


async def test_an_answer_while_the_end_of_the_request_waits_here(harness: Harness) -> None:
    """The client has sent all of it, this proxy has not: nothing may be sent behind it."""
    size = 6 * 1024 * 1024

    async def script(conversation: Conversation) -> None:
        conversation.requests.append(await conversation.head())
        await complete.wait()
        await conversation.send(ok(b"early"))
        await answered.wait()
        await conversation.watch()

    complete, answered = asyncio.Event(), asyncio.Event()
    backend = harness.backend("v2", script, receive_buffer=16 * 1024)
    harness.use(route("v2", sticky=sticky("json", "id"), inspect_limit=size))
    client = await harness.client()
    pouring = asyncio.create_task(client.pour(post(b"x" * size)))
    await wait_until(lambda: harness.accepted and harness.accepted[0].request_done, "the upload is here")
    (exchange,) = harness.accepted
    await wait_until(lambda: backend.conversations and backend.conversations[0].requests, "it goes out")
    assert exchange.upstream is not None
    assert exchange.upstream.transport.get_write_buffer_size() > 0
    await pouring
    complete.set()
    assert (await client.answer()).body == b"early"
    await client.send(post(b"y"))
    assert (await client.answer()).body == b"early"
    assert len(backend.conversations) == 2
    answered.set()
    await backend.conversations[0].over()
    assert len(backend.conversations[0].received) < size, "nor is the rest sent to nobody's use"


async def test_idle_connections_are_closed_after_a_while(
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
async def test_an_idle_connection_is_closed_before_uvicorn_would(
    harness: Harness, idle: float, kept: bool
) -> None:
    """uvicorn does after 5 s. A look is had each half second: one idle for 4.4 s must be gone at the next."""
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    await wait_until(lambda: endpoint.idle, "it is pooled")
    looks = harness.plane.sweeps // CLIENT_SWEEPS
    await wait_until(lambda: harness.plane.sweeps // CLIENT_SWEEPS > looks, "a look has just been had")
    endpoint.idle[0].idle_since = harness.plane.now - idle
    await wait_until(lambda: harness.plane.sweeps // CLIENT_SWEEPS > looks + 1, "another look")
    assert len(endpoint.idle) == kept
    await client.send(get())
    await client.answer()
    assert len(backend.conversations) == (1 if kept else 2)


async def test_a_connection_that_was_never_used_may_be_stale(harness: Harness) -> None:
    """Opened for a client that has left, pooled, closed by the backend when used at last: as any reused one."""

    async def script(conversation: Conversation) -> None:
        if conversation.number == 0:
            await conversation.request()
            conversation.close()
        else:
            await answering(ok(b"ok"))(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    leaver = await harness.client()
    await leaver.send(get())
    await at_once(lambda: harness.plane.tasks)
    next(iter(harness.plane.clients)).abort()
    (endpoint,) = harness.plane.backends["v2"].endpoints.values()
    await wait_until(lambda: endpoint.idle, "it is pooled")
    assert backend.requests == []
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"ok"
    cell = await harness.cell("v2")
    assert (cell.errors, cell.codes) == (0, {499: 1, 200: 1})
    assert cell.failures == {"client_left": 1, "stale_connection": 1}
