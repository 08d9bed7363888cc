"""Sends requests as fast as possible, or after pauses, without a sticky key, so that each gets an independent random backend."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import cycle

from tests.scenarios.harness import wait_until


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the previous answer is complete, or a pause behind it."""

    def __init__(self, load: FastLoad) -> None:
        self.load = load
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        transport.write(next(self.load.requests))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = self.buffer[:end].lower()
        if len(self.buffer) < end + int(field(head, b"content-length")):
            return
        self.buffer = b""
        self.load.record(int(head[9:12]), field(head, b"x-crossfade-backend").decode())
        if self.load.stopping:
            self.transport.close()
        elif self.load.pause:
            asyncio.get_running_loop().call_later(self.load.pause, self.send)
        else:
            self.send()

    def send(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(next(self.load.requests))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.load.stopping:
            self.load.lost.append(repr(error))


def field(head: bytes, name: bytes) -> bytes:
    """The value of the field; 0 if it is missing."""
    at = head.find(b"\r\n" + name + b": ")
    return head[at + len(name) + 4 :].split(b"\r\n", 1)[0] if at >= 0 else b"0"


class FastLoad:
    """`answers` by (backend, whether 200); `first_bad` and `last` are monotonic times of answers by backend."""

    def __init__(
        self, port: int, paths: tuple[str, ...] = ("/predict",), connections: int = 16, pause: float = 0.0
    ) -> None:
        self.port = port
        self.connections = connections
        self.pause = pause
        self.requests = cycle(
            b"POST %b HTTP/1.1\r\nHost: models\r\nContent-Length: 2\r\n\r\n{}" % path.encode()
            for path in paths
        )
        self.answers: Counter[tuple[str, bool]] = Counter()
        self.first_bad: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.lost: list[str] = []
        self.stopping = False

    def record(self, status: int, backend: str) -> None:
        now = time.monotonic()
        self.answers[backend, status == 200] += 1
        self.last[backend] = now
        if status != 200:
            self.first_bad.setdefault(backend, now)

    @property
    def total(self) -> int:
        return self.answers.total()

    async def wait_for_answers(self, requests: int) -> None:
        goal = self.total + requests
        await wait_until(lambda: self.total >= goal, f"{requests} more answers; {self.lost[:3]}")

    async def __aenter__(self) -> FastLoad:
        loop = asyncio.get_running_loop()
        connections = [
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
            for _ in range(self.connections)
        ]
        self.transports = [transport for transport, _ in connections]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stopping = True
        for transport in self.transports:
            transport.close()
        await asyncio.sleep(0)
