"""Load at a fixed rate: `python -m loadtests.pace PORT WORK RATE SECONDS`.

Open loop: each request is due at its time whether or not earlier ones were answered, and its time counts
from then, so a proxy that stalls cannot hide it (what wrk2 calls coordinated omission). Plain sockets and
select(), whose waits are exact to microseconds where event loops round to milliseconds. Prints the JSON line
that load.lua prints; of streams, the times are those to the first event.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter

from loadtests.client import requests_of
from loadtests.work import Work, work_named

CONNECTIONS = 128  # select() knows descriptors below 1024 only
RECEIVE = 256 * 1024
GRACE = 5.0  # seconds after the last request was due; what is not answered then has failed
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(eq=False)
class Line:
    """One connection, and the request that is under way on it."""

    sock: socket.socket
    due: float = 0.0
    head: bytes = b""  # of the answer, as far as it is here
    length: int | None = None  # of the answer's body; -1: chunked; None: its head is not here yet
    received: int = 0  # bytes of the body
    tail: bytes = b""

    def fileno(self) -> int:
        return self.sock.fileno()

    def ask(self, request: bytes, due: float) -> None:
        self.due, self.head, self.length, self.received, self.tail = due, b"", None, 0, b""
        self.sock.sendall(request)

    def hear(self, data: bytes) -> bool:
        """True when the answer is whole."""
        if self.length is None:
            self.head += data
            head, found, data = self.head.partition(b"\r\n\r\n")
            if not found:
                return False
            self.length = body_length(head)
        self.received += len(data)
        self.tail = (self.tail + data)[-len(LAST_CHUNK) :]
        return self.tail == LAST_CHUNK if self.length < 0 else self.received >= self.length


def body_length(head: bytes) -> int:
    lower = head.lower()
    if b"\r\ntransfer-encoding:" in lower:
        return -1
    _, _, rest = lower.partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0] or 0)


@dataclass(eq=False)
class Pace:
    """A run. Times in seconds."""

    port: int
    work: Work
    rate: float
    total: int
    connections: int = CONNECTIONS
    times: list[float] = field(default_factory=list)
    errors: int = 0

    def run(self) -> None:
        requests = requests_of(self.work, self.port)
        idle = [self.open() for _ in range(self.connections)]
        busy: set[Line] = set()
        waiting: deque[float] = deque()  # due, and no connection is free
        start, sent, queued = perf_counter() + 0.01, 0, 0
        end = start + self.total / self.rate + GRACE
        while sent < self.total or busy:
            now = perf_counter()
            if now > end:
                break
            while queued < self.total and start + queued / self.rate <= now:
                waiting.append(start + queued / self.rate)
                queued += 1
            while waiting and idle:
                line = idle.pop()
                line.ask(requests[sent % len(requests)], waiting.popleft())
                busy.add(line)
                sent += 1
            pause = start + queued / self.rate - perf_counter() if queued < self.total else GRACE
            for line in select.select(busy, [], [], max(0.0, pause))[0]:
                if self.hear(line):
                    busy.discard(line)
                    idle.append(line)
        self.errors += self.total - sent + len(busy)
        for line in [*idle, *busy]:
            line.sock.close()

    def open(self) -> Line:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Line(sock)

    def hear(self, line: Line) -> bool:
        """True when the connection is free again; after an early end it is a new one."""
        try:
            data = line.sock.recv(RECEIVE)
        except OSError:
            data = b""
        now, silent = perf_counter(), line.received == 0
        if not data:
            self.errors += 1
            line.sock.close()
            line.sock = self.open().sock
            return True
        whole = line.hear(data)
        if (silent and line.received) if self.work.stream else whole:
            self.times.append(now - line.due)
        if whole:
            self.errors += not line.head.startswith(b"HTTP/1.1 2")
        return whole

    def as_line(self) -> str:
        times = sorted(self.times) or [0.0]
        p50, p99 = (times[int(q * (len(times) - 1))] * 1e6 for q in (0.50, 0.99))
        found = {"requests": len(self.times), "seconds": self.total / self.rate, "errors": self.errors}
        return json.dumps({**found, "p50_us": round(p50, 1), "p99_us": round(p99, 1)})


def main(port: str, name: str, rate: str, seconds: str) -> None:
    pace = Pace(int(port), work_named(name), float(rate), int(float(rate) * float(seconds)))
    pace.run()
    print(pace.as_line())


if __name__ == "__main__":
    main(*sys.argv[1:])
