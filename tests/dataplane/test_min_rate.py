"""A body that is dribbled, in either direction, ends by the least rate. Slow models and waits of the proxy break no rate."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Ended, Message, Wire, chunked, get, ok, post, wait_until

GRACE = 0.4  # seconds
SECOND = 1.2  # three times GRACE, and a sweep of the clients
RATE = 1000  # bytes a second
SMALL_BUFFER = 64 * 1024
BODY = bytes(4 * 1024 * 1024)
UPLOAD = bytes(8 * 1024 * 1024)  # more than the kernel takes
LENGTH = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def dribble(client: Wire, piece: bytes) -> None:
    """Send pieces until the proxy ends the connection."""
    with contextlib.suppress(ConnectionError):
        while True:
            await client.send(piece)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "head, piece",
    [(LENGTH, b"x"), (CHUNKED, b"1\r\nx\r\n"), (CHUNKED, b"1;" + b"e" * 500 + b"\r\nx\r\n")],
    ids=["length", "chunked", "extensions"],
)
@pytest.mark.parametrize("inspected", [False, True], ids=["relayed", "inspected"])
async def test_a_dribbled_body_gets_408(harness: Harness, head: bytes, piece: bytes, inspected: bool) -> None:
    harness.backend("v2", silent)
    harness.use(
        route("v2", sticky=sticky("json", "id") if inspected else ()), min_rate=RATE, min_rate_grace=GRACE
    )
    client = await harness.client()
    await client.send(head)
    dribbling = asyncio.create_task(dribble(client, piece))
    answer = await client.answer()
    assert (answer.status, answer.error) == (408, b"downstream/min_rate")
    dribbling.cancel()
    await harness.quiet()
    assert all(cell.errors == 0 for cell in harness.plane.recorder.table.cells.values())
    assert harness.plane.in_flight() == {"v2": 0}


async def test_a_body_at_the_rate_passes(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), min_rate=RATE, min_rate_grace=GRACE)
    client = await harness.client()
    pieces = 24
    await client.send(post(bytes(500 * pieces))[: -500 * pieces])
    for _ in range(pieces):
        await client.send(bytes(500))
        await asyncio.sleep(SECOND / pieces)
    assert (await client.answer()).status == 200


async def test_no_rate_is_asked_without_one(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), min_rate=0, min_rate_grace=GRACE)
    client = await harness.client()
    await client.send(post(bytes(12))[:-12])
    for _ in range(12):
        await client.send(bytes(1))
        await asyncio.sleep(SECOND / 12)
    assert (await client.answer()).status == 200


async def test_a_backend_that_does_not_read_breaks_no_rate_of_the_client(harness: Harness) -> None:
    reading = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await reading.wait()
        await conversation.exactly(len(UPLOAD))
        await conversation.send(ok(b"all"))

    harness.backend("v2", script, receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"), min_rate=RATE, min_rate_grace=GRACE)
    client = await harness.client(send_buffer=SMALL_BUFFER)
    sending = asyncio.create_task(client.pour(post(UPLOAD)))
    await wait_until(lambda: any(c.paused for c in harness.plane.clients), "the proxy stops reading")
    for _ in range(12):
        await asyncio.sleep(SECOND / 12)
    reading.set()
    assert (await client.answer()).body == b"all"
    await sending


async def pouring(conversation: Conversation) -> None:
    await conversation.request()
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    await conversation.pour(BODY)


async def test_an_answer_that_is_dribbled_is_cut_off(harness: Harness) -> None:
    """The client takes one byte at a time, and would never be idle."""
    harness.backend("v2", pouring)
    harness.use(route("v2"), min_rate=RATE, min_rate_grace=GRACE)
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get())

    async def sip() -> None:
        with contextlib.suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(client.sock, 1):
                await asyncio.sleep(0.02)

    sipping = asyncio.create_task(sip())
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.abandoned) == ({499: 1}, 0, 1)
    sipping.cancel()


@pytest.mark.parametrize("fields", [[b"Connection: close"], []], ids=["closing", "keep-alive"])
async def test_the_end_of_an_answer_that_is_not_taken_ends(harness: Harness, fields: list[bytes]) -> None:
    """`keep_alive` alone would let the client take one byte each time."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(bytes(800 * 1024)))

    harness.backend("v2", script)
    harness.use(route("v2"), min_rate=RATE, min_rate_grace=GRACE, keep_alive=GRACE)
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get(fields=fields))
    await wait_until(lambda: harness.plane.clients)
    await wait_until(lambda: not harness.plane.clients, "the connection is gone")


async def test_a_model_that_says_little_breaks_no_rate(harness: Harness) -> None:
    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(12):
            await conversation.send(chunked(b"data: x\n\n").removesuffix(b"0\r\n\r\n"))
            await asyncio.sleep(SECOND / 12)
        await conversation.send(b"0\r\n\r\n")

    harness.backend("v2", each(handler))
    harness.use(route("v2"), min_rate=1_000_000, min_rate_grace=GRACE)
    client = await harness.client()
    await client.send(get())
    assert len((await client.answer()).body) == 12 * 9


async def test_an_upload_beside_a_begun_answer_breaks_no_rate(harness: Harness) -> None:
    """Both sides of a conversation may be slow."""

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(12):
            await conversation.exactly(1)
        await conversation.send(chunked(b"done"))

    harness.backend("v2", script)
    harness.use(route("v2"), min_rate=RATE, min_rate_grace=GRACE)
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n")
    message = await client.head()
    for _ in range(12):
        await client.send(b"x")
        await asyncio.sleep(SECOND / 12)
    with contextlib.suppress(Ended):
        await client.body(message)
    assert message.body == b"done"
