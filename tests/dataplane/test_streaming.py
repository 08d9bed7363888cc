"""The proxy passes bytes on as they arrive. A slow reader stops the sender, and the proxy holds few bytes."""

from __future__ import annotations

import asyncio

import pytest

from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.wire import Message, chunked, get, ok, wait_until

SIZE = 10 * 1024 * 1024
BIG = bytes(range(256)) * (SIZE // 256)
BUFFER_LIMIT = 1024 * 1024  # the most bytes in a transport: its high-water mark and one read
SMALL_BUFFER = 64 * 1024


async def test_each_event_arrives_before_the_next_is_sent(harness: Harness) -> None:
    seen = [asyncio.Event() for _ in range(3)]

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n, event in enumerate(seen):
            await conversation.send(chunked(b"data: %d\n\n" % n).removesuffix(b"0\r\n\r\n"))
            await event.wait()
        await conversation.send(b"0\r\n\r\n")

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    assert (await client.head()).status == 200
    for n, event in enumerate(seen):
        assert await client.exactly(14) == b"9\r\ndata: %d\n\n\r\n" % n
        event.set()
    assert await client.exactly(5) == b"0\r\n\r\n"


async def test_each_piece_of_an_upload_arrives_before_the_next_is_sent(harness: Harness) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        for _ in range(3):
            pieces.put_nowait(await conversation.exactly(3))
        await conversation.send(ok(b"done"))

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
    for piece in (b"one", b"two", b"six"):
        await client.send(piece)
        assert await pieces.get() == piece
    assert (await client.answer()).body == b"done"


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % SIZE, b"Transfer-Encoding: chunked", b"X: y"])
async def test_a_large_answer_arrives_complete(harness: Harness, framing: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        body = chunked(BIG[: SIZE // 2], BIG[SIZE // 2 :]) if b"chunked" in framing else BIG
        await conversation.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing, body)
        if b"X" in framing:
            conversation.close()

    harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).body == BIG


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_slow_backend_stops_the_client(harness: Harness, is_chunked: bool) -> None:
    reading = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await reading.wait()
        await conversation.send(ok(b"%d" % len(await upload(conversation, is_chunked))))

    harness.backend("v2", script, receive_buffer=SMALL_BUFFER)
    harness.use(route("v2"))
    client = await harness.client(send_buffer=SMALL_BUFFER)
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % SIZE
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % framing)
    pouring = asyncio.create_task(client.pour(chunked(BIG) if is_chunked else BIG))
    await wait_until(lambda: harness.plane.active, "the request begins")
    (exchange,) = harness.plane.active
    await wait_until(
        lambda: exchange.upstream is not None and exchange.client.paused,
        "the proxy stops reading from the client",
    )
    for _ in range(50):
        assert exchange.upstream is not None
        assert exchange.upstream.transport.get_write_buffer_size() < BUFFER_LIMIT
        assert exchange.kept < SIZE
        await asyncio.sleep(0.001)
    assert not pouring.done()
    reading.set()
    await pouring
    assert (await client.answer()).body == b"%d" % SIZE


async def upload(conversation: Conversation, is_chunked: bool) -> bytes:
    if not is_chunked:
        return await conversation.exactly(SIZE)
    message = Message(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    await conversation.body(message)
    return message.body


async def test_a_large_first_write_to_a_slow_backend_stops_the_client(harness: Harness) -> None:
    """The proxy sends the inspected part of a body in one write. It must stop the client after that write too."""
    limit = SIZE * 6 // 10

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await asyncio.Event().wait()

    harness.backend("v2", script, receive_buffer=SMALL_BUFFER)
    harness.use(route("v2", sticky=sticky("json", "id"), inspect_limit=limit, absent_beyond=True))
    client = await harness.client(send_buffer=SMALL_BUFFER)
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    pouring = asyncio.create_task(client.pour(chunked(b'"' + b"x" * SIZE)))
    await wait_until(lambda: harness.plane.active, "the request is routed")
    (exchange,) = harness.plane.active
    await wait_until(
        lambda: exchange.upstream is not None and exchange.client.paused,
        "the proxy stops reading from the client",
    )
    assert limit < exchange.kept < SIZE
    assert not pouring.done()
    pouring.cancel()


async def test_a_slow_client_stops_the_backend(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await conversation.pour(BIG)

    backend = harness.backend("v2", script)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get())
    await wait_until(lambda: harness.plane.active, "the request begins")
    (exchange,) = harness.plane.active
    await wait_until(lambda: exchange.client_stalls, "the proxy stops reading from the backend")
    for _ in range(50):
        assert exchange.client.transport.get_write_buffer_size() < BUFFER_LIMIT
        await asyncio.sleep(0.001)
    assert backend.conversations[0].sent < SIZE
    assert (await client.answer()).body == BIG


async def test_pipelined_answers_wait_for_a_client_that_does_not_read(harness: Harness) -> None:
    """Each answer is small and complete at once, so the proxy must stop reading requests to limit its buffer."""
    body = BIG[: 32 * 1024]
    count = 300
    harness.backend("v2", each(lambda conversation, _: conversation.send(ok(body))))
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    pouring = asyncio.create_task(client.pour(get() * count))
    await wait_until(lambda: harness.plane.clients, "the client is connected")
    (downstream,) = harness.plane.clients
    for _ in range(100):
        assert downstream.transport.get_write_buffer_size() < BUFFER_LIMIT
        await asyncio.sleep(0.002)
    assert len(harness.accepted) < count
    for _ in range(count):
        assert (await client.answer()).body == body
    await pouring


async def test_a_client_that_stops_reading_is_a_499_and_no_error_of_the_backend(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await conversation.pour(BIG)

    harness.backend("v2", script, idle_timeout=0.5)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get())
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors, cell.abandoned) == ({499: 1}, 0, 1)
    assert cell.failures == {"client_left": 1}
    await wait_until(lambda: not harness.plane.clients, "the connection is gone")


async def test_a_client_that_does_not_read_the_end_of_its_answer_is_closed(harness: Harness) -> None:
    """The exchange has ended and the proxy holds the last bytes. `keep_alive` limits how long."""
    harness.backend("v2", each(lambda conversation, _: conversation.send(ok(BIG[: 32 * 1024]))))
    harness.use(route("v2"), keep_alive=1.0)
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get() * 400)
    await harness.quiet()
    (downstream,) = harness.plane.clients
    await wait_until(lambda: not downstream.writable, "the transport is above its high-water mark")
    await wait_until(lambda: not harness.plane.clients, "the connection is gone")
    assert set((await harness.cell("v2")).codes) == {200}


async def test_a_backend_that_does_not_read_the_upload_times_out(harness: Harness) -> None:
    async def script(conversation: Conversation) -> None:
        await asyncio.Event().wait()

    harness.backend("v2", script, receive_buffer=SMALL_BUFFER, first_byte_timeout=0.3)
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE)
    pouring = asyncio.create_task(client.pour(BIG))
    answer = await client.answer()
    assert (answer.status, answer.error) == (504, b"upstream/first_byte_timeout")
    pouring.cancel()
    cell = await harness.cell("v2")
    assert (cell.errors, cell.failures) == (1, {"first_byte_timeout": 1})
