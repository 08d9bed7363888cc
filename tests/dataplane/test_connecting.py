"""Faults and events between the assignment of a backend and the first byte sent to it."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.dataplane.endpoint import EndpointState
from crossfade.dataplane.upstream import Upstream
from tests.build import interpreted
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route
from tests.dataplane.scripted import Conversation, Script, answering, each, silent
from tests.dataplane.wire import GUARD, Message, chunked, get, ok, post, wait_until

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def closing_at_once(conversation: Conversation) -> None:
    conversation.close()


async def resetting_at_once(conversation: Conversation) -> None:
    conversation.reset()


async def speaking_first(conversation: Conversation) -> None:
    """The server sends first, as SSH and SMTP servers do."""
    await conversation.send(b"220 ready\r\n")
    await conversation.watch()


@pytest.mark.parametrize("script", [closing_at_once, resetting_at_once, speaking_first])
async def test_a_backend_that_accepts_and_fails_before_the_request_gives_502_at_once(
    harness: Harness, script: Script
) -> None:
    """The proxy does not wait for the first-byte timeout, whichever step detects the failure."""
    harness.backend("v3", script, first_byte_timeout=3 * GUARD)
    harness.use(route("v3"))
    client = await harness.client()
    for _ in range(30):
        await client.send(post(b"x"))
        assert (await client.answer()).status == 502
    cell = await harness.cell("v3")
    assert (cell.requests, cell.errors) == (30, 30)
    assert set(cell.failures) <= {"connect", "reset", "protocol"}


@pytest.mark.parametrize("script", [closing_at_once, speaking_first])
async def test_a_mirror_that_accepts_and_fails_before_the_copy_counts_as_failed(
    harness: Harness, script: Script
) -> None:
    harness.backend("v2")
    harness.backend("v4", script, first_byte_timeout=3 * GUARD)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(10):
        await client.send(get())
        assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.mirrors("v4") == {"failed": 10}


@pytest.mark.parametrize("script", [closing_at_once, speaking_first])
async def test_a_connection_that_ends_before_the_request_is_sent_counts_as_connect(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """No byte was sent, so the fallback may answer even a request that is not pure."""
    harness.backend("v2")
    failing_port = harness.backend("v3", script).port
    create_connection = harness.plane.loop.create_connection

    async def connect(protocol: Any, host: str, port: int, **tls: Any) -> Any:
        transport, upstream = await create_connection(protocol, host, port, **tls)
        if port == failing_port:
            await wait_until(transport.is_closing)
        return transport, upstream

    monkeypatch.setattr(harness.plane.loop, "create_connection", connect)
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    assert (await client.answer()).backend == "v2"
    assert (await harness.cell("v3")).failures == {"connect": 1}


async def test_the_fallback_answers_after_the_connect_timeout(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that drops packets has this effect."""
    silent_port = harness.backend("v3", connect_timeout=0.1).port
    create_connection = harness.plane.loop.create_connection

    async def connect(protocol: Any, host: str, port: int, **tls: Any) -> Any:
        if port == silent_port:
            await asyncio.Event().wait()
        return await create_connection(protocol, host, port, **tls)

    harness.backend("v2")
    harness.use(route("v3", fallback="v2"))
    monkeypatch.setattr(harness.plane.loop, "create_connection", connect)
    client = await harness.client()
    await client.send(post(b"x"))
    assert (await client.answer()).backend == "v2"
    assert (await harness.cell("v3")).failures == {"connect": 1}


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "no-such-host.invalid"])
async def test_a_host_name_that_cannot_be_looked_up_gives_502(harness: Harness, host: str) -> None:
    harness.backend("v3")
    spec = harness.specs["v3"]
    harness.specs["v3"] = replace(spec, endpoints=(replace(spec.endpoints[0], host=host),))
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(post(b"x"))
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/connect")


@interpreted
@pytest.mark.parametrize("fault", [errno.EMFILE, errno.EADDRNOTAVAIL])
async def test_a_local_resource_error_counts_against_no_backend(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """The proxy has no free descriptor or port. That is no failure of the backend (law 6)."""

    async def failing(self: EndpointState, timeout: float) -> Upstream:
        raise OSError(fault, "simulated resource error")

    monkeypatch.setattr(EndpointState, "connect", failing)
    harness.backend("v3")
    harness.backend("v2")
    harness.backend("v4")
    harness.use(route("v3", fallback="v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.error) == (503, b"internal/overload")
    cell = await harness.cell("v3")
    assert (cell.errors, cell.failures) == (0, {"overload": 1})
    assert harness.mirrors("v4") == {"dropped_overload": 1}
    assert await harness.shadow("v4") is None


async def test_a_large_upload_pauses_the_client_while_connecting(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy buffers a bounded part of the body and stops reading from the client until a connection is open."""
    opening = connecting_slowly(monkeypatch)
    size = 8 * 1024 * 1024
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    uploading = asyncio.create_task(client.pour(post(b"x" * size)))
    await wait_until(lambda: harness.plane.active, "the exchange begins")
    (exchange,) = harness.plane.active
    await wait_until(lambda: exchange.client.paused, "the proxy stops reading from the client")
    assert exchange.kept < 1024 * 1024
    opening.set()
    assert (await client.answer()).status == 200
    await uploading
    assert len(backend.requests[0].body) == size


# ── a second attempt during the upload ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_retry_during_an_upload_sends_the_whole_body(harness: Harness, is_chunked: bool) -> None:
    """The proxy sends the buffered part again, then the rest, on the new connection."""

    async def script(conversation: Conversation) -> None:
        if conversation.number == 0:
            await conversation.request()
            await conversation.send(ok(b"first"))
            await conversation.head()
            conversation.close()
        else:
            await answering(ok(b"again"))(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2", pure=True))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    raw = CHUNKED_HEAD + chunked(b"hello ", b"world") if is_chunked else post(b"hello world")
    await client.send(raw[:-14] if is_chunked else raw[:-5])
    await wait_until(lambda: len(backend.conversations) == 2, "a second connection")
    await client.send(raw[-14:] if is_chunked else raw[-5:])
    assert (await client.answer()).body == b"again"
    assert backend.requests[-1].body == b"hello world"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_fallback_during_an_upload_gets_the_whole_body(harness: Harness, is_chunked: bool) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    rejecting = harness.backend("v3", script)
    fallback = harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    raw = CHUNKED_HEAD + chunked(b"hello ", b"world") if is_chunked else post(b"hello world")
    await client.send(raw[:-14] if is_chunked else raw[:-5])
    await wait_until(lambda: fallback.conversations, "the fallback gets a connection")
    await client.send(raw[-14:] if is_chunked else raw[-5:])
    answer = await client.answer()
    assert (answer.status, answer.backend) == (200, "v2")
    assert fallback.requests[0].body == b"hello world"
    await rejecting.conversations[0].over()
    await client.send(get())
    assert (await client.answer()).status == 200, "the client connection is still in sync"


async def test_an_upload_too_large_to_repeat_gets_the_error_of_the_first_backend(harness: Harness) -> None:
    released = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await released.wait()
        await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    harness.backend("v3", script)
    fallback = harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True, replay_limit=10))
    client = await harness.client()
    await client.send(post(b"x" * 100)[:-1])
    await wait_until(
        lambda: harness.accepted and not harness.accepted[0].replayable, "the sent part is over the limit"
    )
    released.set()
    assert (await client.answer()).status == 503
    assert fallback.conversations == []


# ── answers reach the right client ────────────────────────────────────────────────────────────────


async def test_each_client_gets_its_own_answer(harness: Harness) -> None:
    """The backend answers the later request first."""
    release = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        if request.body == b"slow":
            await release.wait()
        await conversation.send(ok(request.body))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    slow, fast = await harness.client(), await harness.client()
    await slow.send(post(b"slow"))
    await fast.send(post(b"fast"))
    assert (await fast.answer()).body == b"fast"
    release.set()
    assert (await slow.answer()).body == b"slow"


async def test_the_backend_connection_of_a_client_that_left_is_not_reused(harness: Harness) -> None:
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    leaving_client = await harness.client()
    await leaving_client.send(get("/secret"))
    await wait_until(lambda: backend.conversations and backend.conversations[0].received)
    leaving_client.close()
    await harness.quiet()
    other = await harness.client()
    await other.send(get("/other"))
    await wait_until(lambda: len(backend.conversations) == 2, "the next client gets a new connection")
    assert b"/other" not in backend.conversations[0].received
