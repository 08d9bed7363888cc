"""Limits of the admin port: connections, time for a head, a body and an answer, sizes. Each is an attack that was tried."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crossfade.admin import connections, events
from crossfade.admin.access import Access
from crossfade.admin.api import admin_app
from crossfade.admin.connections import AdminSite, admin_runner
from tests.admin.site import Reloads
from tests.control.harness import Harness

TOKEN = "0123456789abcdef0123"
GET = b"GET /api/v1/routes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % TOKEN.encode()
POST = b"POST /api/v1/config HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n" % TOKEN.encode()


class Client:
    """A connection of raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def rest(self) -> bytes:
        """What comes until the connection is closed."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                found += data
        return found

    async def answer(self) -> bytes:
        """The head of one answer; its body is read and left out."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await self.reader.readexactly(size)
        return head


class Port:
    def __init__(self, number: int, site: AdminSite) -> None:
        self.number = number
        self.site = site
        self.clients: list[Client] = []

    async def client(self, data: bytes = b"") -> Client:
        made = Client(*await asyncio.open_connection("127.0.0.1", self.number, limit=1 << 24))
        self.clients.append(made)
        await made.say(data)
        return made


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    harness = Harness()
    await harness.load()
    await harness.tick()
    runner = admin_runner(admin_app(harness.controller, Reloads(harness), Access.of_token(TOKEN)))
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    site = AdminSite(runner, sock)
    await site.start()
    made = Port(sock.getsockname()[1], site)
    yield made
    for client in made.clients:
        client.writer.transport.abort()
    await asyncio.sleep(0)
    await runner.cleanup()
    harness.store.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_TIME", "BODY_TIME", "IDLE_TIME"):
        monkeypatch.setattr(connections, name, 0.1)
    monkeypatch.setattr(connections, "LINGER_TIME", 0.1)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("short")
async def test_a_connection_without_a_head_is_closed(port: Port) -> None:
    assert await (await port.client()).rest() == b""


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", POST])
async def test_half_a_head_is_answered_with_408(port: Port, begun: bytes) -> None:
    assert (await (await port.client(begun)).rest()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


@pytest.mark.usefixtures("short")
async def test_bytes_that_drip_in_do_not_prolong_the_time_of_a_head(port: Port) -> None:
    client = await port.client(b"GET / HTTP/1.1\r\nA: ")

    async def drip() -> None:
        while True:
            await client.say(b"x")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
    dripping.cancel()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("body", [b"", b"listen"])
async def test_half_a_body_is_answered_with_408(port: Port, body: bytes) -> None:
    client = await port.client(POST + b"Content-Length: 1000\r\n\r\n" + body)
    found = await client.rest()
    assert found.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"application/problem+json" in found
    assert b"Connection: close" in found


@pytest.mark.usefixtures("short")
async def test_a_body_of_somebody_without_the_token_is_not_waited_for(port: Port) -> None:
    client = await port.client(b"POST /api/v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.1 401 ")


@pytest.mark.usefixtures("short")
async def test_an_idle_connection_is_closed_without_a_word(port: Port) -> None:
    client = await port.client(GET)
    assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
    assert await client.rest() == b""


@pytest.mark.usefixtures("short")
async def test_half_a_second_head_is_answered_with_408(port: Port) -> None:
    client = await port.client(GET + GET[:-2])
    assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
    await client.say(b"x")
    assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short")
async def test_an_answer_that_nobody_reads_is_cut(port: Port) -> None:
    """Many requests, whose answers fill the buffers of both sides."""
    sock = socket.create_connection(("127.0.0.1", port.number))
    sock.setblocking(False)
    with contextlib.suppress(ConnectionError), sock:
        async with asyncio.timeout(60):
            while True:
                await asyncio.get_running_loop().sock_sendall(sock, GET * 100)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_head_has_a_limit_over_all_its_fields(port: Port) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 4000) for n in range(20))
    client = await port.client(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + fields)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "field",
    [
        b"X: " + b"x" * 9000 + b"\r\n",
        b"X: 1\r\n" * 200,
        b"Host: y\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"X : 1\r\n",
        b"\xff\xfe\r\n",
    ],
)
async def test_a_head_that_is_not_http_is_refused(
    port: Port, field: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """And not logged: a traceback for each would fill the disk."""
    client = await port.client(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.0 400 ")
    assert caplog.records == []


async def test_a_head_in_single_bytes_is_read(port: Port) -> None:
    client = await port.client()
    for byte in GET:
        await client.say(b"%c" % byte)
        await asyncio.sleep(0)
    assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_large_is_answered_with_413(port: Port, chunked: bool) -> None:
    body = b"#" * (3 << 20)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    client = await port.client()
    sending = asyncio.create_task(client.say(POST + framing + b"\r\n\r\n" + framed))
    assert (await client.answer()).startswith(b"HTTP/1.1 413 ")
    sending.cancel()


async def test_a_whole_body_goes_in_with_its_head(port: Port) -> None:
    """Its bytes are not counted as the head's."""
    body = b"#" * 900_000
    client = await port.client(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (await client.answer()).startswith(b"HTTP/1.1 422 ")
    await client.say(GET)
    assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_goes_on_after_a_body_that_nobody_read(port: Port) -> None:
    body = b"x" * 300_000
    client = await port.client(
        b"POST /api/v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    assert (await client.answer()).startswith(b"HTTP/1.1 401 ")
    await client.say(body + GET)
    assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"zstd", b"nonsense"])
async def test_a_compressed_body_is_refused_and_never_unpacked(port: Port, encoding: bytes) -> None:
    body = gzip.compress(b"\0" * 10_000_000)
    head = b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    client = await port.client(POST + head + body)
    assert (await client.answer()).startswith(b"HTTP/1.1 415 ")


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_thousand_silent_connections_leave_room_for_an_operator(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_files()
    with caplog.at_level(logging.WARNING, "crossfade.admin"):
        for number in range(1000):
            await port.client(b"GET / HTTP" if number % 2 else b"")
        client = await port.client(GET)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
    served = open_files() - before - len([c for c in port.clients if not c.writer.is_closing()])
    assert served <= connections.MAX_CONNECTIONS + 10
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("few")
async def test_a_body_that_does_not_come_makes_room(port: Port) -> None:
    slow = [await port.client(POST + b"Content-Length: 1000\r\n\r\nlisten") for _ in range(4)]
    while not all(connection.in_request for connection in port.site.connections.open):
        await asyncio.sleep(0.01)
    assert (await (await port.client(GET)).answer()).startswith(b"HTTP/1.1 200 ")
    assert (await slow[0].rest()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("few")
async def test_where_all_connections_are_busy_another_gets_503(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "most_streams", lambda: 4)
    busy = [await port.client(GET.replace(b"routes", b"events")) for _ in range(4)]
    for client in busy:
        await client.reader.readuntil(b": crossfade")
    assert (await (await port.client(GET)).rest()).startswith(b"HTTP/1.1 503 ")
    busy[0].writer.transport.abort()

    async def answered() -> bytes:
        return await (await port.client(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).rest()

    while not (await answered()).startswith(b"HTTP/1.1 200 "):
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("few")
async def test_the_connection_that_waited_longest_makes_room(port: Port) -> None:
    first = await port.client(GET)
    await first.answer()
    others = [await port.client(GET) for _ in range(3)]
    for client in others:
        await client.answer()
    await (await port.client(GET)).answer()
    assert await first.rest() == b""
    await others[0].say(GET)
    assert (await others[0].answer()).startswith(b"HTTP/1.1 200 ")


async def test_connections_that_end_are_forgotten(port: Port) -> None:
    for client in [await port.client(GET) for _ in range(5)]:
        await client.answer()
    held = port.site.connections
    assert len(held.open) == len(held.waiting) == 5
    for client in port.clients:
        client.writer.transport.abort()
    while held.open or held.waiting:
        await asyncio.sleep(0.01)


# ── nonsense ─────────────────────────────────────────────────────────────────────────────────────

HEADS = (
    GET,
    GET.replace(b"routes", b"events"),
    GET.replace(b"routes", b"decisions?route=churn&after=1&limit=3"),
    GET.replace(b"routes", b"rollouts/churn/why?challenger=v3"),
    POST + b"Content-Length: 20\r\n\r\nlisten: 127.0.0.1:80",
    POST.replace(b"config", b"rollouts/churn/pause") + b"Content-Length: 14\r\n\r\n" + b'{"reason":"x"}',
    POST.replace(b"POST /api/v1/config", b"PUT /api/v1/routes/churn/split") + b"Content-Length: 8\r\n\r\n"
    b'{"v2":1}',
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\na: \r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
)
PIECES = (b"\r\n", b"\n", b"\0", b"\xff", b" ", b":", b"%", b"%00", b"%ff", b"/..", b"//", b"?", b"#", b"&", b"=",
          b"[", b"{" * 50, b'"', b"9" * 30, b"-1", b"x" * 300, b"HTTP/9.9", b"0\r\n\r\n", b"\xed\xa0\x80")  # fmt: skip


def mutated(draw: random.Random) -> bytes:
    data = bytearray(draw.choice(HEADS))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        if draw.random() < 0.5:
            data[at:at] = draw.choice(PIECES)
        elif draw.random() < 0.5:
            data[at : at + draw.randint(1, 9)] = draw.choice(PIECES)
        else:
            data[at : at + draw.randint(1, 20)] = b""
    return bytes(data)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("seed", range(4))
async def test_no_bytes_make_an_internal_error(
    port: Port, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each connection is answered or closed, none is 500, and a good request is answered after all of them."""
    draw = random.Random(seed)

    async def attack(data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        writer.write(data)
        found = b""
        with contextlib.suppress(ConnectionError):
            while b": crossfade" not in found and (more := await reader.read(65536)):
                found += more
        writer.transport.abort()
        assert not found.startswith((b"HTTP/1.1 500", b"HTTP/1.0 500")), (data, found)

    for _ in range(5):
        await asyncio.gather(*(attack(mutated(draw)) for _ in range(20)))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert (await (await port.client(GET)).answer()).startswith(b"HTTP/1.1 200 ")
