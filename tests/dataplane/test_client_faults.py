"""Slow, malformed and hostile requests: the proxy refuses them with a status, continues to serve, and leaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import ssl

import pytest

from tests.dataplane.plane import Harness, connecting_slowly, route
from tests.dataplane.scripted import silent
from tests.dataplane.wire import GUARD, Message, Wire, chunked, get, post, wait_until

SHORT = 0.5  # seconds; a timeout that must expire, with room for a loaded machine
UPLOAD = 3 * 1024 * 1024


async def expect_refusal(client: Wire, status: int, error: bytes) -> Message:
    """The proxy answers, then closes the connection without a reset. A reset could discard the answer."""
    answer = await client.answer()
    assert (answer.status, answer.error) == (status, error)
    assert answer.field("connection") == b"close"
    assert answer.field("content-type") == b"application/problem+json"
    assert await client.rest() == (b"", "closed")
    return answer


def serve(harness: Harness, **limits: object) -> None:
    harness.backend("v2")
    harness.use(route("v2"), **limits)


# ── timeouts ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", [b"G", b"GET / HTTP/1.1\r\nHost: h\r\nX-A: "])
async def test_an_incomplete_head_gets_408_after_the_head_timeout(harness: Harness, head: bytes) -> None:
    serve(harness, head_timeout=SHORT)
    client = await harness.client()
    await client.send(head)
    await expect_refusal(client, 408, b"downstream/head_timeout")
    assert harness.plane.recorder.take().refused == {"408:head_timeout": 1}


async def test_empty_lines_give_an_idle_client_no_more_time(harness: Harness) -> None:
    serve(harness, head_timeout=6 * GUARD, keep_alive=SHORT)
    client = await harness.client()
    await client.send(get())
    await client.answer()

    async def send_empty_lines() -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                for byte in (b"\r", b"\n"):
                    await client.send(byte)
                    await asyncio.sleep(SHORT / 10)

    sending = asyncio.create_task(send_empty_lines())
    assert (await client.rest())[1] in ("closed", "reset")
    sending.cancel()


async def test_a_head_sent_byte_by_byte_gets_408_after_the_head_timeout(harness: Harness) -> None:
    """A received byte does not extend the head timeout."""
    serve(harness, head_timeout=SHORT)
    client = await harness.client()

    async def send_slowly() -> None:
        while True:
            await client.send(b"x")
            await asyncio.sleep(SHORT / 10)

    sending = asyncio.create_task(send_slowly())
    answer = await client.answer()
    assert answer.status == 408
    sending.cancel()


@pytest.mark.parametrize("before", [b"", get()], ids=["fresh", "used"])
async def test_an_idle_connection_is_closed_without_an_answer(harness: Harness, before: bytes) -> None:
    serve(harness, head_timeout=SHORT, keep_alive=SHORT)
    client = await harness.client()
    if before:
        await client.send(before)
        await client.answer()
    assert await client.rest() == (b"", "closed")


@pytest.mark.parametrize("raw", [post(b"hello")[:-2], post(b"hello")[:-5]], ids=["half", "none"])
async def test_an_incomplete_upload_gets_408_after_the_keep_alive_timeout(
    harness: Harness, raw: bytes
) -> None:
    """Without the timeout, the request would count as in flight at the backend forever."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2"), keep_alive=SHORT)
    client = await harness.client()
    await client.send(raw)
    await expect_refusal(client, 408, b"downstream/head_timeout")
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.failures) == ({408: 1}, 0, {"head_timeout": 1})
    await backend.conversations[0].over()


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


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
async def test_an_oversized_head_is_refused(
    harness: Harness, raw: bytes, status: int, bytewise: bool
) -> None:
    serve(harness, head_bytes=4096, head_count=20)
    client = await harness.client()
    sending = asyncio.create_task(client.send_bytewise(raw) if bytewise else client.send(raw))
    await expect_refusal(client, status, b"downstream/limits")
    await asyncio.gather(sending, return_exceptions=True)
    assert harness.plane.recorder.take().refused == {f"{status}:limits": 1}


async def test_a_refusal_reaches_a_client_that_continues_to_send(harness: Harness) -> None:
    """The proxy reads and drops the rest of the upload, because a reset could discard the answer."""
    serve(harness)
    client = await harness.client()
    await client.send(b"GET / HTTP/1.1\r\nbad head\r\n\r\n")
    await client.pour(b"x" * UPLOAD)
    await expect_refusal(client, 400, b"downstream/parse")


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_the_413_of_the_body_limit_reaches_a_client_that_is_still_uploading(
    harness: Harness, is_chunked: bool
) -> None:
    harness.backend("v2")
    harness.use(route("v2", body_limit=1000))
    client = await harness.client()
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + chunked(b"x" * UPLOAD) if is_chunked else post(b"x" * UPLOAD)
    await client.pour(raw, len(raw))
    await expect_refusal(client, 413, b"downstream/limits")


@pytest.mark.parametrize("connected", [False, True], ids=["while connecting", "connected"])
async def test_a_body_over_the_limit_never_reaches_the_backend(harness: Harness, connected: bool) -> None:
    """The limit holds for a body in several pieces, both before and after the backend connection is open."""
    backend = harness.backend("v2", silent)
    harness.use(route("v2", body_limit=10))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    if connected:
        await wait_until(lambda: backend.conversations and backend.conversations[0].received)
    await client.send(chunked(b"x" * 8)[:-5])
    if connected:
        await wait_until(lambda: b"xxxxxxxx" in backend.conversations[0].received)
    await client.send(chunked(b"y" * 8))
    await expect_refusal(client, 413, b"downstream/limits")
    assert (await harness.cell("v2")).errors == 0
    assert not any(b"y" in c.received for c in backend.conversations)


async def test_the_body_limit_holds_for_a_body_that_ends_while_connecting(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = connecting_slowly(monkeypatch)
    backend = harness.backend("v2", silent)
    harness.use(route("v2", body_limit=10))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    await wait_until(lambda: harness.plane.active, "the exchange waits for a connection")
    await client.send(chunked(b"y" * 11))
    answer = await client.answer()
    connecting.set()
    assert answer.status == 413
    await wait_until(lambda: not harness.plane.tasks)
    assert backend.requests == []


# ── malformed ─────────────────────────────────────────────────────────────────────────────────────

MALFORMED = {
    "garbage": (b"\x00\x01\x02\x03\xff\xfe\r\n\r\n", 400),
    "no such version": (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "connect": (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
    "malformed first chunk": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("raw, status", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_request_is_refused_and_ends_its_connection(
    harness: Harness, raw: bytes, status: int, bytewise: bool
) -> None:
    """After a framing error, the proxy parses no further request on the connection (request smuggling)."""
    serve(harness)
    client = await harness.client()
    await (client.send_bytewise(raw) if bytewise else client.send(raw + get("/smuggled")))
    await expect_refusal(client, status, b"downstream/parse")
    assert not any(b"smuggled" in r.head for r in harness.backends["v2"].requests)


async def test_a_malformed_chunk_after_a_valid_one_is_refused(harness: Harness) -> None:
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


async def test_the_refusal_after_a_head_request_has_a_body(harness: Harness) -> None:
    serve(harness)
    client = await harness.client()
    await client.send(get().replace(b"GET", b"HEAD") + b"garbage\r\n\r\n")
    assert (await client.answer(to="HEAD")).status == 200
    refusal = await expect_refusal(client, 400, b"downstream/parse")
    assert b'"status":400' in refusal.body


async def test_a_tls_handshake_on_the_plain_port_is_refused_at_once(harness: Harness) -> None:
    """The proxy does not wait for the head timeout."""
    serve(harness, head_timeout=3 * GUARD)
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLError):
        async with asyncio.timeout(GUARD):
            await asyncio.open_connection("127.0.0.1", harness.port, ssl=context, server_hostname="h")
    assert harness.plane.recorder.take().refused == {"400:parse": 1}


async def test_a_connection_over_the_connection_limit_gets_503(harness: Harness) -> None:
    serve(harness, connections=2)
    clients = [await harness.client() for _ in range(2)]
    for client in clients:
        await client.send(get())
        assert (await client.answer()).status == 200
    excess = await harness.client()
    answer = await expect_refusal(excess, 503, b"internal/overload")
    assert answer.field("retry-after") == b"1"
    clients[0].close()
    await wait_until(lambda: len(harness.plane.clients) == 1, "one connection is closed")
    next_client = await harness.client()
    await next_client.send(get())
    assert (await next_client.answer()).status == 200


# ── leaks ─────────────────────────────────────────────────────────────────────────────────────────


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def test_no_descriptor_and_no_in_flight_count_leaks(harness: Harness) -> None:
    """Clients leave at many points of an exchange, ten times each. Afterwards no additional descriptor is open."""
    harness.backend("v2")
    harness.backend("v9", silent, first_byte_timeout=0.05)
    harness.use(route({"v2": 5000, "v9": 5000}, body_limit=100_000), head_timeout=SHORT, keep_alive=SHORT)
    before = open_descriptors()
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
    await wait_until(lambda: not harness.plane.clients, "all client connections are closed")
    await harness.quiet()
    harness.plane.close_idle(float("inf"))
    for backend in harness.backends.values():
        for conversation in backend.conversations:
            await conversation.over()
            conversation.close()
    await wait_until(lambda: open_descriptors() <= before, "all new descriptors are closed")
    assert harness.plane.in_flight() == {"v2": 0, "v9": 0}
