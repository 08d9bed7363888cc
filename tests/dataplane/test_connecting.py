"""What may happen between the decision for a backend and the first byte sent to it."""

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

CODED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def slamming(conversation: Conversation) -> None:
    conversation.close()


async def resetting(conversation: Conversation) -> None:
    conversation.reset()


async def greeting(conversation: Conversation) -> None:
    """Speaks before it is asked, as SSH and SMTP do."""
    await conversation.send(b"220 ready\r\n")
    await conversation.watch()


@pytest.mark.parametrize("script", [slamming, resetting, greeting])
async def test_a_backend_that_accepts_and_is_no_use(harness: Harness, script: Script) -> None:
    """The failure shows at once, whenever exactly it is noticed; not after the time to the first byte."""
    harness.backend("v3", script, first_byte_timeout=3 * GUARD)
    harness.use(route("v3"))
    client = await harness.client()
    for _ in range(30):
        await client.send(post(b"x"))
        assert (await client.answer()).status == 502
    cell = await harness.cell("v3")
    assert (cell.requests, cell.errors) == (30, 30)
    assert set(cell.failures) <= {"connect", "reset", "protocol"}


@pytest.mark.parametrize("script", [slamming, greeting])
async def test_a_mirror_that_accepts_and_is_no_use(harness: Harness, script: Script) -> None:
    harness.backend("v2")
    harness.backend("v4", script, first_byte_timeout=3 * GUARD)
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    for _ in range(10):
        await client.send(get())
        assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.mirrors("v4") == {"failed": 10}


@pytest.mark.parametrize("script", [slamming, greeting])
async def test_a_connection_that_ends_before_it_is_used(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """Nothing was sent, so the fallback may answer even what is not pure."""
    harness.backend("v2")
    useless = harness.backend("v3", script).port
    create_connection = harness.plane.loop.create_connection

    async def connect(protocol: Any, host: str, port: int, **tls: Any) -> Any:
        transport, upstream = await create_connection(protocol, host, port, **tls)
        if port == useless:
            await wait_until(transport.is_closing)
        return transport, upstream

    monkeypatch.setattr(harness.plane.loop, "create_connection", connect)
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    assert (await client.answer()).backend == "v2"
    assert (await harness.cell("v3")).failures == {"connect": 1}


async def test_a_connection_that_is_not_made_in_time(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a firewall drops what comes."""
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
async def test_a_name_that_cannot_be_looked_up(harness: Harness, host: str) -> None:
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
async def test_the_proxys_own_faults_blame_nobody(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """Out of descriptors or ports: that says nothing about the backend (law 6)."""

    async def failing(self: EndpointState, timeout: float) -> Upstream:
        raise OSError(fault, "out of something")

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


async def test_a_large_upload_waits_for_its_connection(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so much is held; the client is stopped until there is somewhere to send it."""
    opening = connecting_slowly(monkeypatch)
    size = 8 * 1024 * 1024
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    pouring = asyncio.create_task(client.pour(post(b"x" * size)))
    await wait_until(lambda: harness.plane.active, "the request begins")
    (exchange,) = harness.plane.active
    await wait_until(lambda: not exchange.client.reading, "the client is stopped")
    assert exchange.kept < 1024 * 1024
    opening.set()
    assert (await client.answer()).status == 200
    await pouring
    assert len(backend.requests[0].body) == size


# ── a second attempt while the client is still uploading ──────────────────────────────────────────


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
async def test_a_retry_in_the_middle_of_an_upload(harness: Harness, coded: bool) -> None:
    """What was sent is sent again, and the rest follows on the new connection."""

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
    raw = CODED + chunked(b"hello ", b"world") if coded else post(b"hello world")
    await client.send(raw[:-14] if coded else raw[:-5])
    await wait_until(lambda: len(backend.conversations) == 2, "a second connection")
    await client.send(raw[-14:] if coded else raw[-5:])
    assert (await client.answer()).body == b"again"
    assert backend.requests[-1].body == b"hello world"


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
async def test_a_fallback_in_the_middle_of_an_upload(harness: Harness, coded: bool) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    rejecting = harness.backend("v3", script)
    fallback = harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True))
    client = await harness.client()
    raw = CODED + chunked(b"hello ", b"world") if coded else post(b"hello world")
    await client.send(raw[:-14] if coded else raw[:-5])
    await wait_until(lambda: fallback.conversations, "the fallback is asked")
    await client.send(raw[-14:] if coded else raw[-5:])
    answer = await client.answer()
    assert (answer.status, answer.backend) == (200, "v2")
    assert fallback.requests[0].body == b"hello world"
    await rejecting.conversations[0].over()
    await client.send(get())
    assert (await client.answer()).status == 200, "and the client is in step"


async def test_an_upload_too_large_to_repeat_gets_the_early_error(harness: Harness) -> None:
    released = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await released.wait()
        await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    harness.backend("v3", script)
    fallback = harness.backend("v2")
    harness.use(route("v3", fallback="v2", pure=True, inspect_limit=10))
    client = await harness.client()
    await client.send(post(b"x" * 100)[:-1])
    await wait_until(lambda: harness.accepted and not harness.accepted[0].replayable, "too much was sent")
    released.set()
    assert (await client.answer()).status == 503
    assert fallback.conversations == []


# ── between the two: nothing is mixed up ──────────────────────────────────────────────────────────


async def test_answers_go_to_whom_they_are_due(harness: Harness) -> None:
    """The later request is answered first; both clients get their own."""
    turn = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        if request.body == b"slow":
            await turn.wait()
        await conversation.send(ok(request.body))

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    slow, fast = await harness.client(), await harness.client()
    await slow.send(post(b"slow"))
    await fast.send(post(b"fast"))
    assert (await fast.answer()).body == b"fast"
    turn.set()
    assert (await slow.answer()).body == b"slow"


async def test_a_client_that_left_leaves_no_answer_behind(harness: Harness) -> None:
    """Its connection to the backend is not the next client's."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    leaver = await harness.client()
    await leaver.send(get("/secret"))
    await wait_until(lambda: backend.conversations and backend.conversations[0].received)
    leaver.close()
    await harness.quiet()
    other = await harness.client()
    await other.send(get("/other"))
    await wait_until(lambda: len(backend.conversations) == 2, "a connection of its own")
    assert b"/other" not in backend.conversations[0].received
