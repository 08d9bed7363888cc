"""What a worker holds for a client is bounded, whatever the client pipelines and in whatever order both sides read.

The tests assert on bytes, not on time: at most PIPELINE_LIMIT and one read wait behind a request.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade import dial
from crossfade.dataplane.downstream import PIPELINE_LIMIT, Downstream
from crossfade.dataplane.flow import ALL, ANSWERS, BODY, OF_EXCHANGE, OTHERS, PEER, PIPELINE, Flow
from crossfade.dataplane.upstream import Upstream
from crossfade.routing.snapshot import Match
from tests.dataplane.plane import Harness, connecting_slowly, route
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.wire import Message, Wire, chunked, get, ok, post, wait_until
from tests.fuzz.memory import Memory, MemoryTransport, Origin, answer

ONE_READ = 256 * 1024  # bytes; both event loops read no more at once
LARGEST_PIECE = 50_000
BOUND = PIPELINE_LIMIT + ONE_READ
ANSWER = ok(b"v2")

WIDE = b"X-Wide: " + b"x" * 1000
REQUESTS = {
    "get": get(fields=[WIDE]),
    "length": post(bytes(1000)),
    "chunked": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(bytes(500), bytes(500)),
    "not found": get(fields=[WIDE]).replace(b"GET", b"PUT"),
}


async def pooled(conversation: Conversation, request: Message) -> None:
    await conversation.send(ANSWER)


async def read_answers(client: Wire, count: int) -> None:
    for _ in range(count):
        await client.answer()


async def watch(harness: Harness, reached: Callable[[], bool]) -> int:
    """The most bytes that waited behind a request of the only client, looked at in each turn of the loop."""
    (downstream,) = harness.plane.clients
    most = 0
    while not reached():
        most = max(most, len(downstream.buffer))
        await asyncio.sleep(0)
    return most


@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
async def test_pipelined_requests_wait_in_the_kernel(harness: Harness, raw: bytes) -> None:
    """Sent as fast as the proxy reads: reading is not resumed behind each answer."""
    count = 1000
    harness.backend("v2", each(pooled))
    harness.use(route("v2", match=Match(methods=("GET", "POST"))))
    client = await harness.client()
    await client.send(raw)
    await client.answer()
    pouring = asyncio.create_task(client.pour(raw * count))
    reading = asyncio.create_task(read_answers(client, count))
    async with asyncio.timeout(60):
        most = await watch(harness, reading.done)
    assert most <= BOUND
    await pouring
    await reading


class Side:
    """A transport that says whether it is read from."""

    def __init__(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True


REASONS = (PIPELINE, BODY, PEER, ANSWERS, OTHERS)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([*REASONS, OF_EXCHANGE, ALL]))))
def test_a_connection_is_read_while_no_reason_is_left(events: list[tuple[bool, int]]) -> None:
    side, flow = Side(), Flow()
    flow.connection_made(cast(asyncio.Transport, side))
    left: set[int] = set()
    for paused, reasons in events:
        bits = {bit for bit in REASONS if bit & reasons}
        left = left | bits if paused else left - bits
        flow.set_paused(reasons, paused)
        assert side.reading is (not left)


class Storm:
    """A client and its origins in memory. Each step draws which of them does what."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.memory = Memory(route("v2", replay_limit=100))
        self.due: list[Origin] = []
        self.memory.script = self.due.append
        self.client = Downstream(self.memory.plane)
        self.answers = b""
        self.transport = MemoryTransport(self.client, self.receive)
        self.unsent = b""
        self.requests = 0
        self.stalled: set[Flow] = set()

    def receive(self, data: bytes) -> None:
        self.answers += data

    async def connect(self, make: Callable[[], Upstream], *where: object) -> Upstream:
        for _ in range(self.random.randrange(9)):
            await asyncio.sleep(0)
        return await self.memory.connect(make)

    def send(self) -> None:
        if self.transport.reading and not self.transport.closing:
            size = self.random.choice([1, 100, 5000, LARGEST_PIECE])
            while len(self.unsent) < size:
                self.unsent += self.random.choice(list(REQUESTS.values())[:3])
                self.requests += 1
            piece, self.unsent = self.unsent[:size], self.unsent[size:]
            self.transport.protocol.data_received(piece)

    def answer(self) -> None:
        if self.due:
            answer(self.due.pop())

    def stall(self) -> None:
        """The client stops reading, or an origin does; or one that has stopped reads again."""
        flow = self.random.choice([self.client, *[origin.protocol for origin in self.memory.origins]])
        if flow in self.stalled:
            self.stalled.remove(flow)
            flow.resume_writing()
        elif not flow.transport.is_closing():
            self.stalled.add(flow)
            flow.pause_writing()

    async def end(self) -> None:
        """All read again, and the client completes its last request."""
        for flow in self.stalled:
            flow.resume_writing()
        while self.client.exchange is not None or self.client.buffer or self.unsent:
            self.answer()
            if self.transport.reading:
                piece, self.unsent = self.unsent, b""
                self.transport.protocol.data_received(piece) if piece else None
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(40))
async def test_in_any_order_of_events_the_backlog_is_bounded_and_the_rest_is_read(seed: int) -> None:
    storm = Storm(seed)
    with mock.patch.object(dial, "connect", storm.connect):
        for _ in range(400):
            storm.random.choice([storm.send, storm.send, storm.answer, storm.answer, storm.stall])()
            assert len(storm.client.buffer) <= PIPELINE_LIMIT + LARGEST_PIECE
            if storm.random.random() < 0.7:
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await storm.end()
    assert storm.transport.reading
    assert storm.answers.count(b"HTTP/1.1 200 OK") == storm.requests
    storm.transport.close()
    await asyncio.sleep(0)
    storm.memory.plane.close_idle(float("inf"))


async def test_a_body_in_small_parts_is_kept_without_a_multiple_of_its_length(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part would be an object of its own, with more overhead than bytes."""
    connecting = connecting_slowly(monkeypatch)
    harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    await wait_until(lambda: harness.plane.active, "the exchange waits for a connection")
    (exchange,) = harness.plane.active
    await client.send_bytewise(chunked(bytes(2)).removesuffix(b"0\r\n\r\n") * 200)
    await wait_until(lambda: exchange.kept == 400, "the body is here")
    assert isinstance(exchange.more, bytearray)
    assert sys.getsizeof(exchange.more) < 1000
    connecting.set()
    await client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200


async def test_requests_behind_a_slow_upload_wait_in_the_kernel(harness: Harness) -> None:
    """The backend does not read the upload, and the client pipelines behind it."""
    reading = asyncio.Event()
    upload = bytes(4 * 1024 * 1024)

    async def script(conversation: Conversation) -> None:
        await reading.wait()
        await each(pooled)(conversation)

    harness.backend("v2", script, receive_buffer=64 * 1024)
    harness.use(route("v2"))
    client = await harness.client()
    pouring = asyncio.create_task(client.pour(post(upload) + REQUESTS["get"] * 500))
    await wait_until(lambda: harness.plane.clients, "the client is connected")
    (downstream,) = harness.plane.clients
    for _ in range(50):
        assert len(downstream.buffer) <= BOUND
        await asyncio.sleep(0.002)
    reading.set()
    answers = asyncio.create_task(read_answers(client, 501))
    async with asyncio.timeout(60):
        assert await watch(harness, answers.done) <= BOUND
    await pouring
    await answers


async def test_one_connection_takes_turns_with_others(harness: Harness) -> None:
    """While one client floods, each request of another waits for few of the flood."""
    harness.backend("v2", each(pooled))
    harness.use(route("v2"))
    flood, other = await harness.client(), await harness.client()
    pouring = asyncio.create_task(flood.pour(get() * 600))
    reading = asyncio.create_task(read_answers(flood, 600))
    cells = harness.plane.recorder.table
    for _ in range(20):
        before = cells.of("churn", "v2").requests
        await other.send(get())
        assert (await other.answer()).status == 200
        assert cells.of("churn", "v2").requests - before < 200
    await pouring
    await reading
