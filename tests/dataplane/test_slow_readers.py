"""A peer that reads slowly and steadily gets all of its bytes. One that takes nothing for the idle time is cut off.

The timeouts here are short, and each peer reads for several times as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation
from tests.dataplane.test_unix_sockets import at_socket
from tests.dataplane.upgrades import open_tunnel, upgrading
from tests.dataplane.wire import KERNEL_BUFFER, Wire, get, ok, post, wait_until

IDLE = 0.7  # seconds; what the proxy allows a peer that takes nothing
STEPS = 20  # reads of a slow peer, `PAUSE` apart: three times IDLE
PAUSE = 0.1
SIP = 32 * 1024  # bytes of such a read; the kernel tells the sender of each 64 KiB on loopback
SMALL_BUFFER = 64 * 1024
BODY = bytes(range(256)) * (4 * 1024 * 1024 // 256)


async def sip(wire: Wire, size: int) -> bytes:
    """Read slowly for a while, then the rest."""
    for _ in range(STEPS):
        if len(wire.buffer) >= size:
            break
        await asyncio.sleep(PAUSE)
        wire.buffer += await asyncio.get_running_loop().sock_recv(wire.sock, SIP)
    return await wire.exactly(size)


async def pouring(conversation: Conversation) -> None:
    await conversation.request()
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    await conversation.pour(BODY)


async def test_a_client_that_reads_slowly_gets_its_answer(harness: Harness) -> None:
    harness.backend("v2", pouring, idle_timeout=IDLE)
    harness.use(route("v2"))
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get())
    assert (await client.head()).status == 200
    assert (await sip(client, len(BODY)))[-100:] == BODY[-100:]
    cell = await harness.cell("v2")
    assert (cell.codes, cell.errors) == ({200: 1}, 0)


@pytest.mark.parametrize("fields", [[b"Connection: close"], []], ids=["closing", "keep-alive"])
async def test_a_client_reads_the_end_of_its_answer_slowly(harness: Harness, fields: list[bytes]) -> None:
    """The exchange has ended and the last bytes wait. `keep_alive` counts from the last byte that the client took."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ok(BODY[: 800 * 1024]))

    harness.backend("v2", script)
    harness.use(route("v2"), keep_alive=IDLE)
    client = await harness.client(receive_buffer=SMALL_BUFFER)
    await client.send(get(fields=fields))
    message = await client.head()
    assert await sip(client, 800 * 1024) == BODY[: 800 * 1024]
    assert message.status == 200
    assert await client.rest() == (b"", "closed")


@pytest.mark.parametrize("size", [len(BODY), 600 * 1024], ids=["stops the client", "fits into buffers"])
async def test_a_backend_that_reads_an_upload_slowly_gets_it_all(harness: Harness, size: int) -> None:
    """The first-byte timeout counts from the last byte that the backend took."""

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await sip(conversation, size)
        await conversation.send(ok(b"all"))

    harness.backend("v2", script, receive_buffer=SMALL_BUFFER, first_byte_timeout=IDLE)
    harness.use(route("v2"))
    client = await harness.client(send_buffer=SMALL_BUFFER)
    sending = asyncio.create_task(client.pour(post(BODY[:size])))
    assert (await client.answer()).body == b"all"
    await sending
    assert (await harness.cell("v2")).errors == 0


@pytest.mark.parametrize("size", [len(BODY), 600 * 1024], ids=["stops the client", "fits into buffers"])
async def test_a_backend_that_takes_nothing_of_an_upload_times_out(harness: Harness, size: int) -> None:
    async def script(conversation: Conversation) -> None:
        await asyncio.Event().wait()

    harness.backend("v2", script, receive_buffer=SMALL_BUFFER, first_byte_timeout=IDLE)
    harness.use(route("v2"))
    client = await harness.client(send_buffer=SMALL_BUFFER)
    sending = asyncio.create_task(client.pour(post(BODY[:size])))
    assert (await client.answer()).status == 504
    sending.cancel()


@pytest.mark.parametrize("reader", ["client", "backend"])
async def test_a_tunnel_stays_open_while_its_reader_reads_slowly(harness: Harness, reader: str) -> None:
    done = asyncio.Event()

    async def talk(conversation: Conversation) -> None:
        if reader == "client":
            await conversation.pour(BODY)
        else:
            await sip(conversation, len(BODY))
            done.set()
        await conversation.watch()

    harness.backend("v2", upgrading(talk), receive_buffer=SMALL_BUFFER, idle_timeout=IDLE)
    harness.use(route("v2"))
    client = await open_tunnel(harness, await harness.client(receive_buffer=SMALL_BUFFER))
    if reader == "client":
        assert (await sip(client, len(BODY)))[-100:] == BODY[-100:]
    else:
        await client.pour(BODY)
        await done.wait()


@pytest.mark.parametrize("stopper", ["client", "backend"])
async def test_a_tunnel_ends_when_its_reader_takes_nothing(harness: Harness, stopper: str) -> None:
    async def talk(conversation: Conversation) -> None:
        if stopper == "client":
            await conversation.pour(BODY)
        await asyncio.Event().wait()

    harness.backend("v2", upgrading(talk), receive_buffer=SMALL_BUFFER, idle_timeout=IDLE)
    harness.use(route("v2"))
    client = await open_tunnel(harness, await harness.client(receive_buffer=SMALL_BUFFER))
    if stopper == "backend":
        with contextlib.suppress(ConnectionError):
            await client.pour(BODY)
    await wait_until(lambda: not harness.plane.tunnels, "the tunnel ends")


def sip_over_tls(port: int, context: ssl.SSLContext) -> bytes:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.settimeout(10.0)
    sock.connect(("127.0.0.1", port))
    with context.wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall(get(fields=[b"Connection: close"]))
        received = b""
        while data := tls.recv(SIP):
            received += data
            if len(received) < 2 * STEPS * SIP:
                time.sleep(PAUSE / 4)  # a record of TLS has 16 KiB
    return received


async def test_a_client_that_reads_slowly_over_tls_gets_its_answer(harness: Harness, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    harness.backend("v2", pouring, idle_timeout=IDLE)
    harness.use(route("v2"), keep_alive=IDLE)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    port = sock.getsockname()[1]
    await harness.plane.listen(sock, authority.server("localhost"))
    context = ssl.create_default_context(cafile=authority.file)
    received = await asyncio.to_thread(sip_over_tls, port, context)
    assert len(received.partition(b"\r\n\r\n")[2]) == len(BODY)
    assert (await harness.cell("v2")).codes == {200: 1}


async def test_a_backend_at_a_unix_socket_reads_slowly(harness: Harness, tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    listening.setblocking(False)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(listening)
        received = 0
        while received < len(BODY):  # and the head, which comes in the same pieces
            received += len(await loop.sock_recv(sock, 4 * SIP))
            if received < 4 * SIP * STEPS:
                await asyncio.sleep(PAUSE)
        await loop.sock_sendall(sock, ok(b"all"))
        sock.close()

    harness.replica("v2", at_socket(path), first_byte_timeout=IDLE)
    harness.use(route("v2"))
    serving = asyncio.create_task(serve())
    client = await harness.client()
    sending = asyncio.create_task(client.pour(post(BODY)))
    assert (await client.answer()).body == b"all"
    await asyncio.gather(serving, sending)
    listening.close()
