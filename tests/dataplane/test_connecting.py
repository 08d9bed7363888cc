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
from tests.dataplane.plane import Stage, connecting_slowly, mirrored, route
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
async def test_a_backend_that_accepts_and_is_no_use(stage: Stage, script: Script) -> None:
    """The failure shows at once, whenever exactly it is noticed; not after the time to the first byte."""
    stage.backend("v3", script, first_byte_timeout=3 * GUARD)
    stage.use(route("v3"))
    client = await stage.client()
    for _ in range(30):
        await client.send(post(b"x"))
        assert (await client.answer()).status == 502
    cell = await stage.cell("v3")
    assert (cell.requests, cell.errors) == (30, 30)
    assert set(cell.failures) <= {"connect", "reset", "protocol"}


@pytest.mark.parametrize("script", [slamming, greeting])
async def test_a_mirror_that_accepts_and_is_no_use(stage: Stage, script: Script) -> None:
    stage.backend("v2")
    stage.backend("v4", script, first_byte_timeout=3 * GUARD)
    stage.use(route("v2", mirrors=mirrored("v4")))
    client = await stage.client()
    for _ in range(10):
        await client.send(get())
        assert (await client.answer()).status == 200
    await stage.quiet()
    assert stage.mirrors("v4") == {"failed": 10}


@pytest.mark.parametrize("script", [slamming, greeting])
async def test_a_connection_that_ends_before_it_is_used(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """Nothing was sent, so the fallback may answer even what is not pure."""
    stage.backend("v2")
    useless = stage.backend("v3", script).port
    create_connection = stage.plane.loop.create_connection

    async def connect(protocol: Any, host: str, port: int, **tls: Any) -> Any:
        transport, upstream = await create_connection(protocol, host, port, **tls)
        if port == useless:
            await wait_until(transport.is_closing)
        return transport, upstream

    monkeypatch.setattr(stage.plane.loop, "create_connection", connect)
    stage.use(route("v3", fallback="v2"))
    client = await stage.client()
    await client.send(post(b"x"))
    assert (await client.answer()).backend == "v2"
    assert (await stage.cell("v3")).failures == {"connect": 1}


async def test_a_connection_that_is_not_made_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a firewall drops what comes."""
    silent_port = stage.backend("v3", connect_timeout=0.1).port
    create_connection = stage.plane.loop.create_connection

    async def connect(protocol: Any, host: str, port: int, **tls: Any) -> Any:
        if port == silent_port:
            await asyncio.Event().wait()
        return await create_connection(protocol, host, port, **tls)

    stage.backend("v2")
    stage.use(route("v3", fallback="v2"))
    monkeypatch.setattr(stage.plane.loop, "create_connection", connect)
    client = await stage.client()
    await client.send(post(b"x"))
    assert (await client.answer()).backend == "v2"
    assert (await stage.cell("v3")).failures == {"connect": 1}


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "no-such-host.invalid"])
async def test_a_name_that_cannot_be_looked_up(stage: Stage, host: str) -> None:
    stage.backend("v3")
    spec = stage.specs["v3"]
    stage.specs["v3"] = replace(spec, endpoints=(replace(spec.endpoints[0], host=host),))
    stage.use(route("v3"))
    client = await stage.client()
    await client.send(post(b"x"))
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/connect")


@interpreted
@pytest.mark.parametrize("fault", [errno.EMFILE, errno.EADDRNOTAVAIL])
async def test_the_proxys_own_faults_blame_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """Out of descriptors or ports: that says nothing about the backend (law 6)."""

    async def failing(self: EndpointState, timeout: float) -> Upstream:
        raise OSError(fault, "out of something")

    monkeypatch.setattr(EndpointState, "connect", failing)
    stage.backend("v3")
    stage.backend("v2")
    stage.backend("v4")
    stage.use(route("v3", fallback="v2", mirrors=mirrored("v4")))
    client = await stage.client()
    await client.send(get())
    answer = await client.answer()
    assert (answer.status, answer.error) == (503, b"internal/overload")
    cell = await stage.cell("v3")
    assert (cell.errors, cell.failures) == (0, {"overload": 1})
    assert stage.mirrors("v4") == {"dropped_overload": 1}
    assert await stage.shadow("v4") is None


async def test_a_large_upload_waits_for_its_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so much is held; the client is stopped until there is somewhere to send it."""
    opening = connecting_slowly(monkeypatch)
    size = 8 * 1024 * 1024
    backend = stage.backend("v2")
    stage.use(route("v2"))
    client = await stage.client()
    pouring = asyncio.create_task(client.pour(post(b"x" * size)))
    await wait_until(lambda: stage.plane.active, "the request begins")
    (exchange,) = stage.plane.active
    await wait_until(lambda: not exchange.client.reading, "the client is stopped")
    assert exchange.kept < 1024 * 1024
    opening.set()
    assert (await client.answer()).status == 200
    await pouring
    assert len(backend.requests[0].body) == size


# ── a second attempt while the client is still uploading ──────────────────────────────────────────


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
async def test_a_retry_in_the_middle_of_an_upload(stage: Stage, coded: bool) -> None:
    """What was sent is sent again, and the rest follows on the new connection."""

    async def script(conversation: Conversation) -> None:
        if conversation.number == 0:
            await conversation.request()
            await conversation.send(ok(b"first"))
            await conversation.head()
            conversation.close()
        else:
            await answering(ok(b"again"))(conversation)

    backend = stage.backend("v2", script)
    stage.use(route("v2", pure=True))
    client = await stage.client()
    await client.send(get())
    await client.answer()
    raw = CODED + chunked(b"hello ", b"world") if coded else post(b"hello world")
    await client.send(raw[:-14] if coded else raw[:-5])
    await wait_until(lambda: len(backend.conversations) == 2, "a second connection")
    await client.send(raw[-14:] if coded else raw[-5:])
    assert (await client.answer()).body == b"again"
    assert backend.requests[-1].body == b"hello world"


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
async def test_a_fallback_in_the_middle_of_an_upload(stage: Stage, coded: bool) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    rejecting = stage.backend("v3", script)
    fallback = stage.backend("v2")
    stage.use(route("v3", fallback="v2", pure=True))
    client = await stage.client()
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


async def test_an_upload_too_large_to_repeat_gets_the_early_error(stage: Stage) -> None:
    released = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await released.wait()
        await conversation.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await conversation.watch()

    stage.backend("v3", script)
    fallback = stage.backend("v2")
    stage.use(route("v3", fallback="v2", pure=True, inspect_limit=10))
    client = await stage.client()
    await client.send(post(b"x" * 100)[:-1])
    await wait_until(lambda: stage.accepted and not stage.accepted[0].replayable, "too much was sent")
    released.set()
    assert (await client.answer()).status == 503
    assert fallback.conversations == []


# ── between the two: nothing is mixed up ──────────────────────────────────────────────────────────


async def test_answers_go_to_whom_they_are_due(stage: Stage) -> None:
    """The later request is answered first; both clients get their own."""
    turn = asyncio.Event()

    async def handler(conversation: Conversation, request: Message) -> None:
        if request.body == b"slow":
            await turn.wait()
        await conversation.send(ok(request.body))

    stage.backend("v2", each(handler))
    stage.use(route("v2"))
    slow, fast = await stage.client(), await stage.client()
    await slow.send(post(b"slow"))
    await fast.send(post(b"fast"))
    assert (await fast.answer()).body == b"fast"
    turn.set()
    assert (await slow.answer()).body == b"slow"


async def test_a_client_that_left_leaves_no_answer_behind(stage: Stage) -> None:
    """Its connection to the backend is not the next client's."""
    backend = stage.backend("v2", silent)
    stage.use(route("v2"))
    leaver = await stage.client()
    await leaver.send(get("/secret"))
    await wait_until(lambda: backend.conversations and backend.conversations[0].received)
    leaver.close()
    await stage.quiet()
    other = await stage.client()
    await other.send(get("/other"))
    await wait_until(lambda: len(backend.conversations) == 2, "a connection of its own")
    assert b"/other" not in backend.conversations[0].received
