"""WebSocket tunnels: only a valid 101 for a valid upgrade request opens one (CVE-2026-2833 and similar)."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.routing.snapshot import Match, Rate, Sticky
from tests.dataplane.plane import Harness, route, settle
from tests.dataplane.scripted import Conversation, answering
from tests.dataplane.upgrades import (
    ACCEPT,
    ANSWER_101,
    BIG,
    BUFFER_LIMIT,
    KEY,
    SMALL_BUFFER,
    UPGRADE_FIELDS,
    UPGRADE_REQUEST,
    echo,
    open_tunnel,
    tunnel_gone,
    upgrading,
    watch,
)
from tests.dataplane.wire import get, ok, post, wait_until

# ── opening ───────────────────────────────────────────────────────────────────────────────────────


async def test_both_hops_carry_the_upgrade_fields(harness: Harness) -> None:
    backend = harness.backend("v2", upgrading(echo))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST)
    answer = await client.head()
    assert answer.first == b"HTTP/1.1 101 Switching Protocols"
    assert answer.all("connection") == [b"Upgrade"]
    assert answer.all("upgrade") == [b"websocket"]
    assert answer.all("sec-websocket-accept") == [ACCEPT]
    assert answer.backend == "v2"
    assert answer.field("x-request-id")
    (request,) = backend.requests
    assert request.all("connection") == [b"Upgrade"]
    assert request.all("upgrade") == [b"websocket"]
    assert request.all("sec-websocket-key") == [KEY]
    assert request.all("sec-websocket-version") == [b"13"]
    assert request.field("transfer-encoding") is None
    for frame in (b"\x81\x05hello", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\x00" * 100):
        await client.send(frame)
        assert await client.exactly(len(frame)) == frame
    client.half_close()
    assert await client.rest() == (b"", "closed")
    await tunnel_gone(harness)
    assert len(harness.accepted) == 1


async def test_a_tunnel_opens_when_both_heads_arrive_byte_by_byte(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send_bytewise(ANSWER_101 + b"first")
        await echo(conversation)

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send_bytewise(UPGRADE_REQUEST)
    assert (await client.head()).status == 101
    assert await client.exactly(5) == b"first"
    await client.send_bytewise(b"frames")
    assert await client.exactly(6) == b"frames"
    client.close()
    await tunnel_gone(harness)


async def test_bytes_in_the_same_write_as_the_101_reach_the_client(harness: Harness) -> None:
    harness.backend("v2", upgrading(watch, b"HTTP/1.1 200 OK\r\n\r\n"))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.exactly(19) == b"HTTP/1.1 200 OK\r\n\r\n"
    client.close()
    await tunnel_gone(harness)


async def test_a_101_after_an_interim_answer_on_a_reused_connection_opens_a_tunnel(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(b"v2"))
        await conversation.request()
        await conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", ANSWER_101)
        await echo(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == b"v2"
    await client.send(UPGRADE_REQUEST)
    assert (await client.head()).status == 103
    assert (await client.head()).status == 101
    await client.send(b"frame")
    assert await client.exactly(5) == b"frame"
    assert len(backend.conversations) == 1
    client.close()
    await tunnel_gone(harness)


# ── before the 101 ────────────────────────────────────────────────────────────────────────────────


async def test_client_bytes_before_the_101_are_held_and_sent_after_it(harness: Harness) -> None:
    """The backend gets no early byte before its 101, and the proxy parses none of them as a request."""
    early = get("/smuggled") + BIG
    release, reading = asyncio.Event(), asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await release.wait()
        await settle()
        assert conversation.buffer == b""
        with pytest.raises(BlockingIOError):
            conversation.sock.recv(1)
        await conversation.send(ANSWER_101)
        await reading.wait()
        assert await conversation.exactly(len(early)) == early
        await echo(conversation)

    backend = harness.backend("v2", script, receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"))
    client = await harness.client(send_buffer=SMALL_BUFFER)
    await client.send(UPGRADE_REQUEST + early[:100])
    pouring = asyncio.create_task(client.pour(early[100:]))
    await wait_until(lambda: backend.requests, "the backend has the request")
    (downstream,) = harness.plane.clients
    await wait_until(lambda: downstream.paused, "the proxy stops reading from the client")
    assert len(downstream.buffer) < BUFFER_LIMIT
    assert not pouring.done()
    release.set()
    assert (await client.head()).status == 101
    (tunnel,) = harness.plane.tunnels
    await wait_until(lambda: tunnel.client.paused, "the proxy stops reading from the client again")
    for _ in range(50):
        assert tunnel.upstream.transport.get_write_buffer_size() < BUFFER_LIMIT
        await asyncio.sleep(0.001)
    assert not pouring.done()
    reading.set()
    await pouring
    await client.send(b"frame")
    assert await client.exactly(5) == b"frame"
    assert len(harness.accepted) == 1
    client.close()
    await tunnel_gone(harness)


@pytest.mark.parametrize("early", [b"", get("/smuggled")], ids=["no early bytes", "early bytes"])
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request", b"426 Upgrade Required", b"503 Busy"])
async def test_an_answer_other_than_101_closes_the_connection(
    harness: Harness, status: bytes, early: bytes
) -> None:
    raw = b"HTTP/1.1 %b\r\nContent-Length: 2\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nno" % status
    backend = harness.backend("v2", answering(raw))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + early)
    answer = await client.answer()
    assert (b"HTTP/1.1 " + status, b"no") == (answer.first, answer.body)
    assert answer.field("connection") == b"close"
    assert answer.field("upgrade") == (b"websocket" if answer.status == 426 else None)
    assert await client.rest() == (b"", "closed")
    assert [r.first for r in backend.requests] == [b"GET /chat HTTP/1.1"]
    assert len(harness.accepted) == 1


async def test_an_error_answer_of_the_proxy_closes_the_connection(harness: Harness) -> None:
    harness.refusing("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + get("/smuggled"))
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, b"close")
    assert await client.rest() == (b"", "closed")
    assert len(harness.accepted) == 1


@pytest.mark.parametrize("status", [404, 429])
async def test_a_refused_upgrade_closes_the_connection(harness: Harness, status: int) -> None:
    backend = harness.backend("v2")
    rate = Rate(Sticky("client_ip"), per_second=0.001, burst=1)
    harness.use(route("v2", match=Match(path="/chat" if status == 429 else "/other"), rate=rate))
    other = await harness.client()
    await other.send(get("/chat"))
    await other.answer()
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + get("/other"))
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (status, b"close")
    assert await client.rest() == (b"", "closed")
    assert len(backend.requests) == (status == 429)


# ── invalid upgrades ──────────────────────────────────────────────────────────────────────────────


INVALID_UPGRADES = {
    "no Upgrade": get(),
    "Upgrade without Connection": get(fields=UPGRADE_FIELDS[1:]),
    "Connection without Upgrade": get(fields=[UPGRADE_FIELDS[0], UPGRADE_FIELDS[2]]),
    "h2c": get(fields=[UPGRADE_FIELDS[0], b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"]),
    "no key": get(fields=UPGRADE_FIELDS[:2]),
    "POST": post(b"", fields=UPGRADE_FIELDS),
    "a body": b"GET / HTTP/1.1\r\nHost: h\r\n%b\r\nContent-Length: 2\r\n\r\nhi"
    % b"\r\n".join(UPGRADE_FIELDS),
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: h\r\n%b\r\n\r\n" % b"\r\n".join(UPGRADE_FIELDS),
}


@pytest.mark.parametrize("raw", INVALID_UPGRADES.values(), ids=INVALID_UPGRADES)
async def test_an_invalid_upgrade_request_is_an_ordinary_request(harness: Harness, raw: bytes) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(raw)
    answer = await client.answer()
    assert answer.body == b"v2"
    (request,) = backend.requests
    assert [request.field(name) for name in ("upgrade", "connection", "http2-settings")] == [None] * 3
    if b"HTTP/1.1" in raw:
        await client.send(get())
        assert (await client.answer()).body == b"v2"


@pytest.mark.parametrize("raw", INVALID_UPGRADES.values(), ids=INVALID_UPGRADES)
async def test_a_101_without_a_valid_upgrade_request_is_a_502(harness: Harness, raw: bytes) -> None:
    backend = harness.backend("v2", upgrading(watch))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(raw)
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/protocol")
    await backend.conversations[0].over()
    assert (await harness.cell("v2")).failures == {"protocol": 1}


@pytest.mark.parametrize(
    "raw",
    [
        ANSWER_101.replace(b"websocket", b"h2c"),
        ANSWER_101.replace(b"Connection: upgrade\r\n", b""),
        ANSWER_101.replace(b"Upgrade: websocket\r\n", b""),
        ANSWER_101.replace(ACCEPT, KEY),
        ANSWER_101.replace(b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n", b""),
    ],
)
async def test_a_101_that_does_not_match_the_upgrade_request_is_a_502(harness: Harness, raw: bytes) -> None:
    backend = harness.backend("v2", answering(raw))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST)
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/protocol")
    assert await client.rest() == (b"", "closed")
    await backend.conversations[0].over()
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors) == ({502: 1}, 1)


async def test_a_route_without_upgrades_forwards_no_upgrade(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2", upgrades=()))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST)
    assert (await client.answer()).body == b"v2"
    assert backend.requests[0].field("upgrade") is None


async def test_a_route_may_allow_other_protocols(harness: Harness) -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: mux\r\nConnection: upgrade\r\n\r\n"

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(switching)
        await echo(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2", upgrades=(b"websocket", b"mux")))
    client = await harness.client()
    await client.send(get(fields=[b"Connection: upgrade", b"Upgrade: h2c, mux"]))
    assert (await client.head()).all("upgrade") == [b"mux"]
    assert backend.requests[0].all("upgrade") == [b"mux"]
    await client.send(b"x")
    assert await client.exactly(1) == b"x"
    client.close()
    await tunnel_gone(harness)
