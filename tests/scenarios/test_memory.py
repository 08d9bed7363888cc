"""What a worker holds does not depend on how much it carries, nor on how slowly somebody takes it.

The worker's peak (VmHWM) is what counts, so that nothing is missed between two looks at it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenarios.stagehands import GUARD, Proxy, running, wait_until

GIB = 1024**3
MIB = 1024**2
GROWTH = 8 * MIB
PIECE = bytes(256 * 1024)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
SLOW = 8  # connections


async def pour(sock: socket.socket, size: int, coded: bool = False) -> None:
    """Zeros, in chunks where wanted."""
    loop = asyncio.get_running_loop()
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if coded else PIECE
    for _ in range(size // len(PIECE)):
        await loop.sock_sendall(sock, piece)
    if coded:
        await loop.sock_sendall(sock, b"0\r\n\r\n")


async def swallow(sock: socket.socket, enough: int) -> int:
    """At least so many bytes, or all there are; how many came. None of them is kept."""
    loop = asyncio.get_running_loop()
    buffer = bytearray(1 * MIB)
    came = 0
    while came < enough and (n := await loop.sock_recv_into(sock, buffer)):
        came += n
    return came


async def head(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(sock, 1)
        assert byte, data
        data += byte
    return data


class Giant:
    """A backend of large bodies: the path says how large and how; `/hold` neither reads nor answers till released."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.sock.setblocking(False)
        self.port = int(self.sock.getsockname()[1])
        self.swallowed: list[int] = []
        self.release = asyncio.Event()

    async def accept(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
                sock.setblocking(False)
                tasks.create_task(self.serve(sock))

    async def serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock, contextlib.suppress(AssertionError, ConnectionError):  # the proxy left
            while True:
                request = await head(sock)
                how, size = request.split(b" ")[1].decode().split("/")[1:]
                if how == "hold":
                    await self.release.wait()
                    return
                if how in ("upload", "coded-upload"):
                    self.swallowed.append(await swallow(sock, int(size)))
                    await loop.sock_sendall(sock, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                    return
                if how == "tunnel":
                    await loop.sock_sendall(sock, SWITCH + b"Sec-WebSocket-Accept: %b\r\n\r\n" % ACCEPT)
                    await pour(sock, int(size))
                    return
                coded = how == "coded-download"
                framing = b"Transfer-Encoding: chunked" if coded else b"Content-Length: %b" % size.encode()
                await loop.sock_sendall(sock, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
                await pour(sock, int(size), coded)


@pytest.fixture
async def giant() -> AsyncIterator[Giant]:
    giant = Giant()
    serving = asyncio.create_task(giant.accept())
    yield giant
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    giant.sock.close()


class Worker:
    """The one worker of a proxy, and its memory in bytes."""

    def __init__(self, pid: int) -> None:
        self.proc = Path(f"/proc/{pid}")

    def begin(self) -> None:
        """The peak is counted from here."""
        (self.proc / "clear_refs").write_text("5")
        self.start = self.memory("VmRSS")

    def growth(self) -> int:
        return self.memory("VmHWM") - self.start

    def memory(self, which: str) -> int:
        (line,) = [x for x in (self.proc / "status").read_text().splitlines() if x.startswith(which + ":")]
        return int(line.split()[1]) * 1024


class Carrier:
    """A proxy with one worker, and clients of it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.clients: list[socket.socket] = []

    async def worker(self) -> Worker:
        """Once it has carried a little of everything."""
        for how in ("upload", "coded-upload", "download", "coded-download"):
            await self.carry(how, 4 * MIB)
        (worker,) = (await self.proxy.get("/api/v1/status"))["workers"]
        found = Worker(worker["pid"])
        found.begin()
        return found

    async def client(self, request: bytes, small: bool = False) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        self.clients.append(sock)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self.proxy.port))
        await loop.sock_sendall(sock, request)
        return sock

    async def carry(self, how: str, size: int) -> None:
        """So many bytes up, or down."""
        upload, coded = how.endswith("upload"), how.startswith("coded")
        framing = b"Transfer-Encoding: chunked" if coded else b"Content-Length: %d" % size
        line = b"POST" if upload else b"GET"
        fields = framing if upload else b"Accept: */*"
        if how == "tunnel":
            fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + KEY
        request = b"%b /%b/%d HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % (line, how.encode(), size, fields)
        sock = await self.client(request)
        if upload:
            await pour(sock, size, coded)
        answer = await head(sock)
        assert answer.split()[1] == {"tunnel": b"101"}.get(how, b"204" if upload else b"200"), answer
        if not upload:
            assert await swallow(sock, size) >= size
        sock.close()

    def close(self) -> None:
        for sock in self.clients:
            sock.close()


@pytest.fixture
async def carrier(tmp_path: Path, giant: Giant) -> AsyncIterator[Carrier]:
    config = (
        f"backends:\n  v2: {{endpoints: [http://127.0.0.1:{giant.port}], health: false}}\n"
        "routes:\n  - {name: churn, split: {v2: 100%}}\n"
    )
    proxy = Proxy(tmp_path, config, workers=1)
    carrier = Carrier(proxy)
    async with running(proxy):
        yield carrier
        carrier.close()


SIZES = {
    "upload": GIB,
    "download": GIB,
    "coded-upload": GIB // 4,
    "coded-download": GIB // 4,
    "tunnel": GIB // 4,
}


async def test_of_a_large_body_little_is_held(carrier: Carrier, giant: Giant) -> None:
    for how, size in SIZES.items():
        worker = await carrier.worker()
        await carrier.carry(how, size)
        assert worker.growth() < GROWTH, how
        if how.endswith("upload"):
            assert giant.swallowed[-1] >= size


async def test_of_answers_that_nobody_takes_little_is_held(carrier: Carrier) -> None:
    worker = await carrier.worker()
    for _ in range(SLOW):
        await carrier.client(b"GET /download/%d HTTP/1.1\r\nHost: h\r\n\r\n" % GIB, small=True)
    await carrier.carry("download", 64 * MIB)  # while they stall, others are served
    await settled(worker)
    assert worker.growth() < GROWTH


async def test_of_uploads_that_nobody_takes_little_is_held(carrier: Carrier, giant: Giant) -> None:
    worker = await carrier.worker()
    pouring = []
    for _ in range(SLOW):
        sock = await carrier.client(b"POST /hold/0 HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % GIB)
        pouring.append(asyncio.create_task(pour(sock, GIB)))
    await carrier.carry("upload", 64 * MIB)
    await settled(worker)
    assert not any(task.done() for task in pouring)
    assert worker.growth() < GROWTH
    for task in pouring:
        task.cancel()
    await asyncio.gather(*pouring, return_exceptions=True)
    giant.release.set()


async def settled(worker: Worker) -> None:
    """Its memory has stopped growing."""
    seen = [0, 1]

    async def stands() -> bool:
        await asyncio.sleep(0.2)
        seen.append(worker.memory("VmRSS"))
        return len(set(seen[-4:])) == 1

    await wait_until(stands, f"the worker stands still within {GUARD} s")
