"""WebSocket tunnels: only a valid 101 for a valid upgrade request opens one (CVE-2026-2833 and similar)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from crossfade.routing.ledger import reweigh, salt_of
from crossfade.routing.snapshot import Cut, Match, Rate, Sticky
from tests.dataplane.plane import Harness, mirrored, route, settle
from tests.dataplane.scripted import Conversation, Script, answering, each
from tests.dataplane.wire import Ended, Message, Wire, get, ok, post, wait_until

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
UPGRADE_FIELDS = [b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: " + KEY]
UPGRADE_REQUEST = get("/chat", [*UPGRADE_FIELDS, b"Sec-WebSocket-Version: 13"])
ANSWER_101 = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)
SIZE = 8 * 1024 * 1024
BIG = bytes(range(256)) * (SIZE // 256)
BUFFER_LIMIT = 1024 * 1024  # the most bytes in a transport: its high-water mark and one read
SMALL_BUFFER = 64 * 1024


def upgrading(then: Script, first: bytes = b"") -> Script:
    """Answer with 101, send `first` in the same write, then run `then`."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ANSWER_101 + first)
        await then(conversation)

    return script


async def echo(conversation: Conversation) -> None:
    """Send back all received bytes until the proxy ends its half, then close."""
    try:
        while True:
            data, conversation.buffer = conversation.buffer, b""
            await conversation.send(data)
            await conversation.more()
    except Ended as end:
        conversation.ended = end.how
    conversation.close()


async def watch(conversation: Conversation) -> None:
    """Read until the proxy ends its half, then close."""
    await conversation.watch()
    conversation.close()


def resetting(when: asyncio.Event) -> Script:
    async def script(conversation: Conversation) -> None:
        await when.wait()
        conversation.reset()

    return script


async def open_tunnel(harness: Harness, client: Wire | None = None) -> Wire:
    client = client or await harness.client()
    await client.send(UPGRADE_REQUEST)
    message = await client.head()
    assert message.status == 101
    return client


async def tunnel_gone(harness: Harness) -> None:
    await wait_until(lambda: not harness.plane.tunnels and not harness.plane.clients, "the tunnel is gone")


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
    assert answer.field("upgrade") is None
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


# ── counts ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_tunnel_has_one_outcome_with_status_101(harness: Harness) -> None:
    """The duration and the end of a tunnel are not counted: they do not measure the model."""
    reset_now = asyncio.Event()
    harness.backend("v2", upgrading(resetting(reset_now)))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    cell = await harness.cell("v2")
    assert (cell.requests, cell.codes, cell.errors, cell.duration.count) == (1, {101: 1}, 0, 1)
    assert harness.plane.in_flight() == {"v2": 1}, "an open tunnel counts as in flight"
    counted = encode(cell)
    reset_now.set()
    assert await client.rest() == (b"", "reset")
    await tunnel_gone(harness)
    assert harness.plane.in_flight() == {"v2": 0}
    assert encode(await harness.cell("v2")) == counted


async def test_an_open_tunnel_counts_against_max_in_flight(harness: Harness) -> None:
    harness.backend("v2", upgrading(watch), max_in_flight=1)
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    second = await harness.client()
    await second.send(get())
    assert (await second.answer()).error == b"internal/overload"
    client.close()
    await wait_until(lambda: not harness.plane.tunnels, "the tunnel is gone")


async def test_an_upgrade_is_not_mirrored(harness: Harness) -> None:
    harness.backend("v2", upgrading(watch))
    shadow = harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await open_tunnel(harness)
    client.close()
    await tunnel_gone(harness)
    assert harness.mirrors("v4") == {"dropped_upgrade": 1}
    assert shadow.requests == []


async def test_the_fallback_answers_an_upgrade_when_the_first_backend_refuses(harness: Harness) -> None:
    harness.refusing("v3")
    harness.backend("v2", upgrading(echo))
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + b"early")
    answer = await client.head()
    assert (answer.status, answer.backend, answer.field("x-crossfade-assigned")) == (101, "v2", b"v3")
    assert await client.exactly(5) == b"early"
    client.close()
    await tunnel_gone(harness)
    assert (await harness.cell("v3")).fell_back == 1


# ── end of a tunnel ───────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_half_closes_still_gets_the_backends_bytes(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        assert await conversation.rest() == (b"bye", "closed")
        await conversation.send(b"and more ", b"behind it")
        conversation.close()

    harness.backend("v2", upgrading(script))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    await client.send(b"bye")
    client.half_close()
    assert await client.rest() == (b"and more behind it", "closed")
    await tunnel_gone(harness)


async def test_a_backend_that_half_closes_still_gets_the_clients_bytes(harness: Harness) -> None:
    received: list[tuple[bytes, str]] = []

    async def script(conversation: Conversation) -> None:
        await conversation.send(b"bye")
        conversation.half_close()
        received.append(await conversation.rest())

    harness.backend("v2", upgrading(script))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.rest() == (b"bye", "closed")
    await client.send(b"and more ", b"behind it")
    client.close()
    await tunnel_gone(harness)
    await wait_until(lambda: received, "the backend has read to the end")
    assert received == [(b"and more behind it", "closed")]


async def test_a_client_that_half_closes_before_the_101_gets_a_tunnel(harness: Harness) -> None:
    release = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await release.wait()
        await conversation.send(ANSWER_101)
        assert await conversation.rest() == (b"early", "closed")
        await conversation.send(b"late")
        conversation.close()

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST + b"early")
    client.half_close()
    await wait_until(
        lambda: any(c.half_closed for c in harness.plane.clients), "the proxy sees the half-close"
    )
    release.set()
    assert (await client.head()).status == 100
    assert (await client.head()).status == 101
    assert await client.rest() == (b"late", "closed")
    await tunnel_gone(harness)


DISCONNECTS: dict[str, Callable[[Wire], None]] = {"closes": Wire.close, "resets": Wire.reset}


@pytest.mark.parametrize("leave", DISCONNECTS.values(), ids=DISCONNECTS)
async def test_a_client_that_leaves_before_the_101_cancels_the_request(
    harness: Harness, leave: Callable[[Wire], None]
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await watch(conversation)

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(UPGRADE_REQUEST)
    await wait_until(lambda: backend.requests, "the backend has the request")
    leave(client)
    await backend.conversations[0].over()
    assert (await harness.cell("v2")).codes == {499: 1}


async def test_a_reset_by_the_client_resets_the_backend_connection(harness: Harness) -> None:
    backend = harness.backend("v2", upgrading(watch))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    client.reset()
    assert await backend.conversations[0].over() == "reset"
    await tunnel_gone(harness)


async def test_a_reset_by_the_backend_resets_the_client_connection(harness: Harness) -> None:
    reset_now = asyncio.Event()
    harness.backend("v2", upgrading(resetting(reset_now)))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    reset_now.set()
    assert await client.rest() == (b"", "reset")
    await tunnel_gone(harness)


async def test_only_the_idle_timeout_ends_a_tunnel(harness: Harness) -> None:
    """The backend's first-byte and total timeouts do not apply; each byte restarts the idle timeout."""
    backend = harness.backend(
        "v2", upgrading(echo), idle_timeout=0.6, first_byte_timeout=0.3, total_timeout=0.3
    )
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    start = harness.plane.loop.time()
    while harness.plane.loop.time() < start + 0.9:
        await client.send(b"ping")
        assert await client.exactly(4) == b"ping"
        await asyncio.sleep(0.02)
    assert await client.rest() == (b"", "reset")
    assert await backend.conversations[0].over() == "reset"
    await tunnel_gone(harness)


@pytest.mark.parametrize("slow", ["client", "backend"])
async def test_a_slow_reader_stops_the_sender(harness: Harness, slow: str) -> None:
    reading = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        if slow == "client":
            await conversation.pour(BIG)
        else:
            await reading.wait()
            assert await conversation.exactly(SIZE) == BIG
            await conversation.send(b"got it")
        await watch(conversation)

    backend = harness.backend("v2", upgrading(script), receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER, send_buffer=SMALL_BUFFER)
    await open_tunnel(harness, client)
    pouring = asyncio.create_task(client.pour(BIG if slow == "backend" else b""))
    (tunnel,) = harness.plane.tunnels
    sender = tunnel.client if slow == "backend" else tunnel.upstream
    await wait_until(lambda: sender.paused, "the proxy stops reading from the sender")
    for _ in range(50):
        for end in (tunnel.client, tunnel.upstream):
            assert end.transport.get_write_buffer_size() < BUFFER_LIMIT
        await asyncio.sleep(0.001)
    reading.set()
    if slow == "client":
        assert backend.conversations[0].sent < SIZE
        assert await client.exactly(SIZE) == BIG
    else:
        assert await client.exactly(6) == b"got it"
    await pouring
    client.close()
    await tunnel_gone(harness)


async def test_a_slow_client_gets_the_last_bytes(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.pour(BIG)
        conversation.half_close()
        await watch(conversation)

    harness.backend("v2", upgrading(script))
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await open_tunnel(harness, client)
    client.half_close()
    data, how = await client.rest()
    assert (data == BIG, how) == (True, "closed")
    await tunnel_gone(harness)


async def test_a_client_that_does_not_read_the_last_bytes_is_closed_after_the_idle_timeout(
    harness: Harness,
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(BIG[: 1024 * 1024])
        conversation.close()

    harness.backend("v2", upgrading(script), idle_timeout=0.5)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await open_tunnel(harness, client)
    client.half_close()
    await tunnel_gone(harness)


# ── reload, drain, cut ────────────────────────────────────────────────────────────────────────────


async def test_a_tunnel_survives_reloads_that_remove_its_route_and_backend(harness: Harness) -> None:
    harness.backend("v2", upgrading(echo))
    harness.backend("v3")
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    del harness.specs["v2"]
    harness.use(route("v3", name="other", upgrades=()))
    for _ in range(3):
        await client.send(b"frame")
        assert await client.exactly(5) == b"frame"
        await settle()
    client.half_close()
    assert await client.rest() == (b"", "closed")
    await tunnel_gone(harness)


async def test_a_drain_resets_a_tunnel_after_its_timeout(harness: Harness) -> None:
    backend = harness.backend("v2", upgrading(echo))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    draining = asyncio.create_task(harness.plane.drain(2.5))
    await wait_until(lambda: harness.plane.draining, "the drain has begun")
    for _ in range(10):
        await client.send(b"frame")
        assert await client.exactly(5) == b"frame"
        await asyncio.sleep(0.12)
    assert await client.rest() == (b"", "reset")
    assert await backend.conversations[0].over() == "reset"
    await draining


async def test_a_drain_ends_when_the_last_tunnel_ends(harness: Harness) -> None:
    harness.backend("v2", upgrading(echo))
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    draining = asyncio.create_task(harness.plane.drain(1000.0))
    await wait_until(lambda: harness.plane.draining, "the drain has begun")
    await client.send(b"frame")
    client.half_close()
    assert await client.rest() == (b"frame", "closed")
    await draining


async def test_a_drain_closes_a_tunnel_whose_backend_does_not_read_the_last_bytes(
    harness: Harness,
) -> None:
    async def script(conversation: Conversation) -> None:
        conversation.half_close()
        await asyncio.Event().wait()

    harness.backend("v2", upgrading(script), receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"))
    client = await open_tunnel(harness)
    assert await client.rest() == (b"", "closed")
    (tunnel,) = harness.plane.tunnels
    while not tunnel.upstream.transport.get_write_buffer_size():
        await client.send(bytes(16 * 1024))
        await asyncio.sleep(0.005)
    client.half_close()
    await wait_until(lambda: not harness.plane.clients, "the client is gone")
    assert harness.plane.tunnels
    await harness.plane.drain(0)
    assert not harness.plane.tunnels


async def test_a_cut_resets_tunnels_to_the_challenger(harness: Harness) -> None:
    backend = harness.backend("v3", upgrading(echo))
    harness.backend("v2")
    before = route({"v2": 0, "v3": 10_000})
    harness.use(before)
    client = await open_tunnel(harness)
    after = reweigh(before.ledger, {"v2": 10_000, "v3": 0}, salt_of("churn"))
    harness.use(replace(before, ledger=after, cuts=(Cut("v3", 0.05),)))
    assert await client.rest() == (b"", "reset")
    await backend.conversations[0].over()
    await tunnel_gone(harness)


async def test_ordinary_requests_are_served_beside_a_tunnel(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        if conversation.number == 0:
            await upgrading(echo)(conversation)
        else:
            await each(answer)(conversation)

    async def answer(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(b"plain"))

    harness.backend("v2", script)
    harness.use(route("v2"))
    tunnel = await open_tunnel(harness)
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        assert (await client.answer()).body == b"plain"
        await tunnel.send(b"frame")
        assert await tunnel.exactly(5) == b"frame"
    tunnel.close()
    client.close()
    await tunnel_gone(harness)
