"""One end of a TCP connection, byte for byte: the client's end or the backend's end in tests.

It uses plain sockets, no asyncio streams. So it reads only what the test asks for, and it tells a
reset from a FIN without losing the bytes before it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

GUARD = 10.0  # seconds; a generous time limit for what should happen at once
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST
KERNEL_BUFFER = (
    256 * 1024
)  # bytes; without a fixed size, the kernel's buffer grows to hold all that a test sends
End = Literal["closed", "reset"]


class Ended(Exception):
    """The connection ended before the awaited bytes came."""

    def __init__(self, how: End, partial: bytes) -> None:
        super().__init__(f"{how} after {partial[-200:]!r}")
        self.how = how
        self.partial = partial


@dataclass
class Message:
    """A request or an answer as received; `chunks` are the chunks of a chunked body."""

    head: bytes
    body: bytes = b""
    chunks: list[bytes] | None = None
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first, *lines = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        for line in lines:
            name, _, value = line.partition(b": ")
            self.fields.append((name, value))

    def all(self, name: str) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.encode().lower()]

    def field(self, name: str) -> bytes | None:
        return next(iter(self.all(name)), None)

    @property
    def status(self) -> int:
        return int(self.first.split(b" ")[1])

    @property
    def error(self) -> bytes | None:
        return self.field("x-crossfade-error")

    @property
    def backend(self) -> str:
        return (self.field("x-crossfade-backend") or b"").decode()


class Wire:
    """Returns exactly the bytes that the test asks for; the rest stays in `buffer` or in the kernel."""

    guard: float | None = GUARD

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.received = b""  # all bytes so far
        self.sent = 0
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, *pieces: bytes) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.guard):
            for piece in pieces:
                await loop.sock_sendall(self.sock, piece)
                self.sent += len(piece)

    async def send_bytewise(self, data: bytes) -> None:
        """Send each byte as its own segment; the other side reads it before the next byte is sent."""
        for n in range(len(data)):
            await self.send(data[n : n + 1])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def pour(self, data: bytes, piece: int = 64 * 1024) -> None:
        """Send without a time limit, as fast as the other side reads; `sent` counts the bytes."""
        loop = asyncio.get_running_loop()
        for n in range(0, len(data), piece):
            await loop.sock_sendall(self.sock, data[n : n + piece])
            self.sent += len(data[n : n + piece])

    async def more(self) -> None:
        """Read at least one more byte into the buffer. Raises Ended."""
        try:
            async with asyncio.timeout(self.guard):
                data = await asyncio.get_running_loop().sock_recv(self.sock, 256 * 1024)
        except (ConnectionResetError, BrokenPipeError):
            raise Ended("reset", self.buffer) from None
        if not data:
            raise Ended("closed", self.buffer)
        self.buffer += data
        self.received += data

    async def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            await self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            await self.more()
        return await self.exactly(self.buffer.index(mark) + len(mark))

    async def rest(self) -> tuple[bytes, End]:
        """Read up to the end of the connection; return the bytes and how it ended."""
        try:
            while True:
                await self.more()
        except Ended as end:
            self.buffer = b""
            return end.partial, end.how

    async def head(self) -> Message:
        return Message(await self.until(b"\r\n\r\n"))

    async def request(self) -> Message:
        message = await self.head()
        if message.field("transfer-encoding") or message.field("content-length"):
            await self.body(message)
        return message

    async def answer(self, to: str = "GET") -> Message:
        """Read the next final answer with its whole body. Raises Ended if it is cut off."""
        message = await self.head()
        if message.status in (204, 304) or to == "HEAD":
            return message
        await self.body(message)
        return message

    async def body(self, message: Message) -> None:
        length = message.field("content-length")
        if (message.field("transfer-encoding") or b"").lower() == b"chunked":
            message.chunks = []
            while size := int(await self.until(b"\r\n"), 16):
                message.chunks.append(await self.exactly(size))
                assert await self.exactly(2) == b"\r\n"
            assert await self.exactly(2) == b"\r\n"
            message.body = b"".join(message.chunks)
        elif length is not None:
            message.body = await self.exactly(int(length))
        else:
            message.body, how = await self.rest()
            if how == "reset":
                raise Ended(how, message.body)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()


async def connect(port: int, receive_buffer: int = 0, send_buffer: int = 0) -> Wire:
    """Open a client connection. With small kernel buffers, a client that does not read blocks the proxy sooner."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if send_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    wire = Wire(sock)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except OSError:
        wire.close()
        raise
    return wire


async def wait_until(condition: Callable[[], object], what: str = "") -> None:
    end = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < end, f"timed out: {what or condition}"
        await asyncio.sleep(0.005)


async def more(seen: Counter[Any], count: int) -> None:
    """Wait until the counter has grown by `count`."""
    goal = seen.total() + count
    await wait_until(lambda: seen.total() >= goal, f"{count} more")


async def reached(seen: Counter[Any], total: int) -> None:
    """Wait until the counter has this total. For a count that ends: `more` again and again asks for more than it reaches.

    Each wait for more returns with some more than it waited for. With polls 120 ms apart, four of four storms ended so
    before their last wait, with all clients done; with 80 ms, none of two did.
    """
    await wait_until(lambda: seen.total() >= total, f"{total} in all")


async def at_once(condition: Callable[[], object]) -> None:
    """As `wait_until`, but checks in each turn of the loop: for a condition that holds only briefly."""
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0)


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (*chunks, b""))


def post(body: bytes, path: str = "/predict", fields: Iterable[bytes] = ()) -> bytes:
    lines = b"".join(line + b"\r\n" for line in fields)
    head = b"POST %b HTTP/1.1\r\nHost: models\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path.encode(), lines, len(body)) + body


def get(path: str = "/predict", fields: Iterable[bytes] = ()) -> bytes:
    lines = b"".join(line + b"\r\n" for line in fields)
    return b"GET %b HTTP/1.1\r\nHost: models\r\n%b\r\n" % (path.encode(), lines)


def ok(body: bytes, fields: Iterable[bytes] = ()) -> bytes:
    lines = b"".join(line + b"\r\n" for line in fields)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)
