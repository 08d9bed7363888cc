"""Load whose rate varies: a slow wave between 30 and 150 % of the mean, and bursts.

Open loop: requests are due at times that do not depend on earlier answers. A request takes an idle connection or a new one.
Each has a customer drawn at random in a header.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Sequence

from loadtests.work import HEADER

_WAVE = 40.0  # seconds
_TURN = 0.01  # seconds between two looks at what is due
_LATE = 0.25  # seconds: requests that were due earlier are left out, so that a pause of the load is no flood
_CONNECTIONS = 400
_BURST_EVERY, _BURST_FOR, _BURST = 20.0, 1.0, 2.5  # seconds in the mean, seconds, times the rate


class Load:
    """`rate`: requests a second in the mean, over all paths. `answers` by status, and the proxy's error if it is one."""

    def __init__(self, port: int, paths: Sequence[str], rate: float, customers: int = 200) -> None:
        self.port, self.paths, self.rate, self.customers = port, paths, rate, customers
        self.generator = random.Random(port)
        self.idle: list[_Connection] = []
        self.opened = 0
        self.left_out = 0  # requests for which there was no connection
        self.answers: Counter[str] = Counter()
        self.burst_ends = 0.0

    def factor(self, now: float) -> float:
        """What the rate is multiplied with."""
        if now > self.burst_ends and self.generator.random() < _TURN / _BURST_EVERY:
            self.burst_ends = now + _BURST_FOR
        wave = 0.9 + 0.6 * math.sin(2 * math.pi * now / _WAVE)
        return wave * (_BURST if now < self.burst_ends else 1.0)

    async def run(self) -> None:
        """Until it is cancelled."""
        due, before = 0.0, time.monotonic()
        try:
            while True:
                await asyncio.sleep(_TURN)
                now = time.monotonic()
                due += min(now - before, _LATE) * self.rate * self.factor(now)
                before = now
                for _ in range(int(due)):
                    await self.send()
                due -= int(due)
        finally:
            for connection in self.idle:
                connection.transport.abort()

    async def send(self) -> None:
        path, customer = self.generator.choice(self.paths), self.generator.randrange(self.customers)
        request = f"GET {path} HTTP/1.1\r\nHost: models\r\n{HEADER}: customer-{customer}\r\n\r\n".encode()
        if self.idle:
            self.idle.pop().send(request)
        elif self.opened < _CONNECTIONS:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
            connection.send(request)
        else:
            self.left_out += 1


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.answer = b""
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.load.opened += 1

    def send(self, request: bytes) -> None:
        self.answer, self.is_busy = b"", True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if found and len(body) >= int(_field(head, b"content-length") or 0):
            kind = head[9:12] + b" " + _field(head, b"x-crossfade-error")
            self.load.answers[kind.decode().rstrip()] += 1
            self.is_busy = False
            self.load.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.opened -= 1
        if self.is_busy:
            self.load.answers["connection lost"] += 1
        if self in self.load.idle:
            self.load.idle.remove(self)


def _field(head: bytes, name: bytes) -> bytes:
    return head.lower().partition(b"\r\n" + name + b":")[2].split(b"\r\n", 1)[0].strip()
