"""A load generator for machines without wrk: `python -m loadtests.client PORT WORK CONNECTIONS SECONDS`.

Each connection sends the next request when it has the whole answer to the previous one. It is a raw protocol
on uvloop with requests built in advance, and reads only answers with a Content-Length. It prints the same JSON
line as load.lua. It needs more CPU per request than wrk, so it limits the throughput earlier.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import cycle
from typing import cast

import uvloop

from loadtests.work import CUSTOMERS, HEADER, Work, work_named

_CONTENT_LENGTH = b"\r\ncontent-length:"


def requests_of(work: Work, port: int) -> list[bytes]:
    """One for each customer."""
    length = f"Content-Type: application/json\r\nContent-Length: {len(work.body)}\r\n" if work.body else ""
    return [
        f"{work.method} {work.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"{HEADER}: customer-{n}\r\n{length}\r\n".encode()
        + work.body
        for n in range(1, CUSTOMERS + 1)
    ]


class Tally:
    """The results of all connections; times are in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors = 0

    def as_line(self, seconds: float) -> str:
        times = sorted(self.times) or [0.0]
        p50, p99 = (times[int(q * (len(times) - 1))] * 1e6 for q in (0.50, 0.99))
        found = {"requests": len(self.times), "seconds": seconds, "errors": self.errors}
        return json.dumps({**found, "p50_us": round(p50, 1), "p99_us": round(p99, 1)})


class Client(asyncio.Protocol):
    def __init__(self, requests: cycle[bytes], tally: Tally) -> None:
        self.requests, self.tally = requests, tally
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.expected = 0  # bytes of the answer; 0 until its head has arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # the class of uvloop is not a subclass
        self.send()

    def send(self) -> None:
        self.received.clear()
        self.expected = 0
        self.sent_at = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.expected and (head_end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:head_end]).lower()
            _, _, rest = head.partition(_CONTENT_LENGTH)
            self.expected = head_end + 4 + int(rest.split(b"\r\n", 1)[0] or 0)
        if self.expected and len(self.received) >= self.expected:
            self.tally.times.append(time.perf_counter() - self.sent_at)
            self.tally.errors += not self.received.startswith(b"HTTP/1.1 2")
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.errors += exc is not None


async def run_load(port: int, work: Work, connections: int, seconds: float) -> str:
    tally, requests = Tally(), cycle(requests_of(work, port))
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    connected = [
        await loop.create_connection(lambda: Client(requests, tally), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    line = tally.as_line(time.perf_counter() - started)
    for transport, _ in connected:
        transport.abort()
    await asyncio.sleep(0)  # transports close in the next iteration of the event loop
    return line


if __name__ == "__main__":
    port, name, connections, seconds = sys.argv[1:]
    print(uvloop.run(run_load(int(port), work_named(name), int(connections), float(seconds))))
