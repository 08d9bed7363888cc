"""Clients that are slow, wrong or hostile: refused with a status, survived, and nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl

import pytest

from tests.dataplane.plane import Harness, connecting_slowly, route
from tests.dataplane.scripted import silent
from tests.dataplane.wire import Message, Wire, chunked, get, post, wait_until

SOON = 0.2
UPLOAD = 3 * 1024 * 1024


async def expect_refusal(client: Wire, status: int, error: bytes) -> Message:
    """An answer of the proxy's own, and then the end of the connection: no reset, which could eat the answer."""
    answer = await client.answer()
    assert (answer.status, answer.error) == (status, error)
    assert answer.field("connection") == b"close"
    assert answer.field("content-type") == b"application/problem+json"
    assert await client.rest() == (b"", "closed")
    return answer


def serve(harness: Harness, **limits: object) -> None:
    harness.backend("v2")
    harness.use(route("v2"), **limits)


# ── too slow ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", [b"G", b"GET / HTTP/1.1\r\nHost: h\r\nX-A: "])
async def test_half_a_head_is_not_waited_for(harness: Harness, head: bytes) -> None:
    serve(harness, head_timeout=SOON)
    client = await harness.client()
    await client.send(head)
    await expect_refusal(client, 408, b"downstream/head_timeout")
    assert harness.plane.recorder.take().refused == {"408:head_timeout": 1}


async def test_a_head_that_drips_is_not_waited_for(harness: Harness) -> None:
    """Each byte does not buy it more time."""
    serve(harness, head_timeout=SOON)
    client = await harness.client()

    async def drip() -> None:
        while True:
            await client.send(b"x")
            await asyncio.sleep(SOON / 10)

    dripping = asyncio.create_task(drip())
    answer = await client.answer()
    assert answer.status == 408
    dripping.cancel()


@pytest.mark.parametrize("before", [b"", get()], ids=["fresh", "used"])
async def test_an_idle_connection_is_closed_without_a_word(harness: Harness, before: bytes) -> None:
    serve(harness, head_timeout=SOON, keep_alive=SOON)
    client = await harness.client()
    if before:
        await client.send(before)
        await client.answer()
    assert await client.rest() == (b"", "closed")


@pytest.mark.parametrize("raw", [post(b"hello")[:-2], post(b"hello")[:-5]], ids=["half", "none"])
async def test_half_an_upload_is_not_waited_for(harness: Harness, raw: bytes) -> None:
    """Else it would hold its backend's place for ever."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"), keep_alive=SOON)
    client = await harness.client()
    await client.send(raw)
    await expect_refusal(client, 408, b"downstream/head_timeout")
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.failures) == ({408: 1}, 0, {"head_timeout": 1})
    await backend.conversations[0].over()


# ── too large ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw, status",
    [
        (get("/" + "x" * 5000), 414),
        (get(fields=[b"X-Big: " + b"x" * 5000]), 431),
        (get(fields=[b"X-%d: y" % n for n in range(30)]), 431),
    ],
    ids=["target", "field", "many fields"],
)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_oversized_heads(harness: Harness, raw: bytes, status: int, bytewise: bool) -> None:
    serve(harness, head_bytes=4096, head_count=20)
    client = await harness.client()
    sending = asyncio.create_task(client.send_bytewise(raw) if bytewise else client.send(raw))
    await expect_refusal(client, status, b"downstream/limits")
    await asyncio.gather(sending, return_exceptions=True)
    assert harness.plane.recorder.take().refused == {f"{status}:limits": 1}


async def test_a_refusal_reaches_a_client_that_goes_on_sending(harness: Harness) -> None:
    """What it still sends is read and dropped, lest a reset eat the answer."""
    serve(harness)
    client = await harness.client()
    await client.send(b"GET / HTTP/1.1\r\nbad head\r\n\r\n")
    pouring = asyncio.create_task(client.pour(b"x" * UPLOAD))
    await pouring
    await expect_refusal(client, 400, b"downstream/parse")


@pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
async def test_the_body_limit_reaches_a_client_still_uploading(harness: Harness, coded: bool) -> None:
    harness.backend("v2")
    harness.use(route("v2", body_limit=1000))
    client = await harness.client()
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + chunked(b"x" * UPLOAD) if coded else post(b"x" * UPLOAD)
    await client.pour(raw, len(raw))
    await expect_refusal(client, 413, b"downstream/limits")


@pytest.mark.parametrize("pause", [False, True], ids=["while connecting", "connected"])
async def test_the_body_limit_holds_from_the_first_byte_on(harness: Harness, pause: bool) -> None:
    """In pieces, before a connection is there and after: the backend never sees more than the limit."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2", body_limit=10))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    if pause:
        await wait_until(lambda: backend.conversations and backend.conversations[0].received)
    await client.send(chunked(b"x" * 8)[:-5])
    if pause:
        await wait_until(lambda: b"xxxxxxxx" in backend.conversations[0].received)
    await client.send(chunked(b"y" * 8))
    await expect_refusal(client, 413, b"downstream/limits")
    assert (await harness.cell("v2")).errors == 0
    assert not any(b"y" in c.received for c in backend.conversations)


async def test_a_body_completed_while_connecting_is_held_to_its_limit(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = connecting_slowly(monkeypatch)
    backend = harness.backend("v2", silent)
    harness.use(route("v2", body_limit=10))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    await wait_until(lambda: harness.plane.active, "it waits for a connection")
    await client.send(chunked(b"y" * 11))
    answer = await client.answer()
    connecting.set()
    assert answer.status == 413
    await wait_until(lambda: not harness.plane.tasks)
    assert backend.requests == []


# ── wrong ─────────────────────────────────────────────────────────────────────────────────────────

WRONG = {
    "garbage": (b"\x00\x01\x02\x03\xff\xfe\r\n\r\n", 400),
    "no such version": (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "connect": (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
    "broken chunk at once": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw, status", WRONG.values(), ids=WRONG)
async def test_wrong_requests(harness: Harness, raw: bytes, status: int, bytewise: bool) -> None:
    """After an error in the framing nothing more is read as a request."""
    serve(harness)
    client = await harness.client()
    await (client.send_bytewise(raw) if bytewise else client.send(raw + get("/smuggled")))
    await expect_refusal(client, status, b"downstream/parse")
    assert not any(b"smuggled" in r.head for r in harness.backends["v2"].requests)


async def test_broken_chunks_behind_a_good_beginning(harness: Harness) -> None:
    backend = harness.backend("v2", silent)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    await wait_until(lambda: backend.conversations and b"ok" in backend.conversations[0].received)
    await client.send(b"-1\r\n" + get("/smuggled"))
    await expect_refusal(client, 400, b"downstream/parse")
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.failures) == ({400: 1}, 0, {"parse": 1})
    await backend.conversations[0].over()
    assert b"0\r\n\r\n" not in backend.conversations[0].received


async def test_a_wrong_request_behind_a_head_request_is_answered_in_full(harness: Harness) -> None:
    serve(harness)
    client = await harness.client()
    await client.send(get().replace(b"GET", b"HEAD") + b"garbage\r\n\r\n")
    assert (await client.answer(to="HEAD")).status == 200
    refusal = await expect_refusal(client, 400, b"downstream/parse")
    assert b'"status":400' in refusal.body


async def test_tls_on_the_plain_port(harness: Harness) -> None:
    """It is told at once, not after the head timeout."""
    serve(harness)
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLError):
        async with asyncio.timeout(5):
            await asyncio.open_connection("127.0.0.1", harness.port, ssl=context, server_hostname="h")
    assert harness.plane.recorder.take().refused == {"400:parse": 1}


async def test_more_connections_than_allowed(harness: Harness) -> None:
    serve(harness, connections=2)
    clients = [await harness.client() for _ in range(2)]
    for client in clients:
        await client.send(get())
        assert (await client.answer()).status == 200
    one_more = await harness.client()
    answer = await expect_refusal(one_more, 503, b"internal/overload")
    assert answer.field("retry-after") == b"1"
    clients[0].close()
    await wait_until(lambda: len(harness.plane.clients) == 1, "there is room again")
    again = await harness.client()
    await again.send(get())
    assert (await again.answer()).status == 200


# ── nothing leaks ─────────────────────────────────────────────────────────────────────────────────


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def test_nothing_leaks(harness: Harness) -> None:
    """All sorts of ends, again and again; afterwards nothing is open that was not before."""
    harness.backend("v2")
    harness.backend("v9", silent, first_byte_timeout=0.05)
    harness.use(route({"v2": 5000, "v9": 5000}, body_limit=100_000), head_timeout=SOON, keep_alive=SOON)
    before = descriptors()
    for round_ in range(10):
        for raw in (
            b"", b"GE", b"\x16\x03\x01\x02\x00\x01", get(), get() * 5, post(b"half a body")[:-4],
            post(b"x" * 200_000)[:150_000], b"garbage\r\n\r\n", get(fields=[b"Connection: close"]),
        ):  # fmt: skip
            client = await harness.client()
            await client.send(raw)
            if round_ % 3 == 0:
                await asyncio.sleep(0.002)
            (client.close if round_ % 2 else client.reset)()
    await wait_until(lambda: not harness.plane.clients, "all clients are gone")
    await harness.quiet()
    harness.plane.close_idle(float("inf"))
    for backend in harness.backends.values():
        for conversation in backend.conversations:
            await conversation.over()
            conversation.close()
    await wait_until(lambda: descriptors() <= before, "no descriptor is left")
    assert harness.plane.in_flight() == {"v2": 0, "v9": 0}
