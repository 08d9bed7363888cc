"""The memory of a worker does not depend on the size of bodies, nor on how slowly a peer reads them.

The tests check the peak of the resident memory (VmHWM), so that no short peak is missed.
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

from tests.scenarios.harness import Proxy, running, wait_until

GIB = 1024**3
MIB = 1024**2
GROWTH = 8 * MIB
PIECE = bytes(256 * 1024)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
SLOW = 8  # connections


async def send_zeros(sock: socket.socket, size: int, chunked: bool = False) -> None:
    loop = asyncio.get_running_loop()
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    for _ in range(size // len(PIECE)):
        await loop.sock_sendall(sock, piece)
    if chunked:
        await loop.sock_sendall(sock, b"0\r\n\r\n")


async def receive(sock: socket.socket, enough: int) -> int:
    """Reads at least so many bytes, or until the end; returns how many. The bytes are not kept."""
    loop = asyncio.get_running_loop()
    buffer = bytearray(1 * MIB)
    received = 0
    while received < enough and (n := await loop.sock_recv_into(sock, buffer)):
        received += n
    return received


async def read_head(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(sock, 1)
        assert byte, data
        data += byte
    return data


class LargeBodyBackend:
    """A backend with paths `/KIND/SIZE`: it receives or sends a body of that size. `/hold` waits for `release`."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.sock.setblocking(False)
        self.port = int(self.sock.getsockname()[1])
        self.received: list[int] = []
        self.release = asyncio.Event()

    async def accept(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
                sock.setblocking(False)
                tasks.create_task(self.serve(sock))

    async def serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with (
            sock,
            contextlib.suppress(AssertionError, ConnectionError),
        ):  # the proxy has closed the connection
            while True:
                request = await read_head(sock)
                kind, size = request.split(b" ")[1].decode().split("/")[1:]
                if kind == "hold":
                    await self.release.wait()
                    return
                if kind in ("upload", "chunked-upload"):
                    self.received.append(await receive(sock, int(size)))
                    await loop.sock_sendall(sock, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                    return
                if kind == "tunnel":
                    await loop.sock_sendall(sock, SWITCH + b"Sec-WebSocket-Accept: %b\r\n\r\n" % ACCEPT)
                    await send_zeros(sock, int(size))
                    return
                chunked = kind == "chunked-download"
                framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %b" % size.encode()
                await loop.sock_sendall(sock, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
                await send_zeros(sock, int(size), chunked)


@pytest.fixture
async def backend() -> AsyncIterator[LargeBodyBackend]:
    backend = LargeBodyBackend()
    serving = asyncio.create_task(backend.accept())
    yield backend
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    backend.sock.close()


class Worker:
    """The only worker of the proxy, and its memory in bytes."""

    def __init__(self, pid: int) -> None:
        self.proc = Path(f"/proc/{pid}")

    def reset_peak(self) -> None:
        (self.proc / "clear_refs").write_text("5")
        self.start = self.memory("VmRSS")

    def growth(self) -> int:
        return self.memory("VmHWM") - self.start

    def memory(self, which: str) -> int:
        (line,) = [x for x in (self.proc / "status").read_text().splitlines() if x.startswith(which + ":")]
        return int(line.split()[1]) * 1024


class Clients:
    """Clients of a proxy with one worker."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.sockets: list[socket.socket] = []

    async def worker(self) -> Worker:
        """The worker, after a warm-up with each kind of body."""
        for kind in ("upload", "chunked-upload", "download", "chunked-download"):
            await self.transfer(kind, 4 * MIB)
        (worker,) = (await self.proxy.get("/api/v1/status"))["workers"]
        found = Worker(worker["pid"])
        found.reset_peak()
        return found

    async def connect(self, request: bytes, small_buffer: bool = False) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        self.sockets.append(sock)
        if small_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self.proxy.port))
        await loop.sock_sendall(sock, request)
        return sock

    async def transfer(self, kind: str, size: int) -> None:
        """One upload, download or tunnel of so many bytes."""
        upload, chunked = kind.endswith("upload"), kind.startswith("chunked")
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        method = b"POST" if upload else b"GET"
        fields = framing if upload else b"Accept: */*"
        if kind == "tunnel":
            fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + KEY
        request = b"%b /%b/%d HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % (method, kind.encode(), size, fields)
        sock = await self.connect(request)
        if upload:
            await send_zeros(sock, size, chunked)
        answer = await read_head(sock)
        assert answer.split()[1] == {"tunnel": b"101"}.get(kind, b"204" if upload else b"200"), answer
        if not upload:
            assert await receive(sock, size) >= size
        sock.close()

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.fixture
async def clients(tmp_path: Path, backend: LargeBodyBackend) -> AsyncIterator[Clients]:
    config = (
        f"backends:\n  v2: {{endpoints: [http://127.0.0.1:{backend.port}], health: false}}\n"
        "routes:\n  - {name: churn, split: {v2: 100%}}\n"
    )
    proxy = Proxy(tmp_path, config, workers=1)
    clients = Clients(proxy)
    async with running(proxy):
        yield clients
        clients.close()


SIZES = {
    "upload": GIB,
    "download": GIB,
    "chunked-upload": GIB // 4,
    "chunked-download": GIB // 4,
    "tunnel": GIB // 4,
}


async def test_memory_does_not_grow_with_the_size_of_a_body(
    clients: Clients, backend: LargeBodyBackend
) -> None:
    for kind, size in SIZES.items():
        worker = await clients.worker()
        await clients.transfer(kind, size)
        assert worker.growth() < GROWTH, kind
        if kind.endswith("upload"):
            assert backend.received[-1] >= size


async def test_memory_does_not_grow_with_answers_that_clients_do_not_read(clients: Clients) -> None:
    worker = await clients.worker()
    for _ in range(SLOW):
        await clients.connect(b"GET /download/%d HTTP/1.1\r\nHost: h\r\n\r\n" % GIB, small_buffer=True)
    await clients.transfer("download", 64 * MIB)  # other clients are served meanwhile
    await settled(worker)
    assert worker.growth() < GROWTH


async def test_memory_does_not_grow_with_uploads_that_the_backend_does_not_read(
    clients: Clients, backend: LargeBodyBackend
) -> None:
    worker = await clients.worker()
    uploads = []
    for _ in range(SLOW):
        sock = await clients.connect(b"POST /hold/0 HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % GIB)
        uploads.append(asyncio.create_task(send_zeros(sock, GIB)))
    await clients.transfer("upload", 64 * MIB)
    await settled(worker)
    assert not any(task.done() for task in uploads)
    assert worker.growth() < GROWTH
    for task in uploads:
        task.cancel()
    await asyncio.gather(*uploads, return_exceptions=True)
    backend.release.set()


async def settled(worker: Worker) -> None:
    """Waits until the memory of the worker no longer changes."""
    values = [0, 1]

    async def is_constant() -> bool:
        await asyncio.sleep(0.2)
        values.append(worker.memory("VmRSS"))
        return len(set(values[-4:])) == 1

    await wait_until(is_constant, "constant memory of the worker")
