"""A load generator with a fixed rate: `python -m loadtests.pace PORT WORK RATE SECONDS`.

Open loop: each request has a due time that does not depend on earlier answers, and its latency counts from
the due time, so that a stall of the proxy is measured (no coordinated omission, in the words of wrk2). It uses
plain sockets and select(), which waits to the microsecond; event loops round to milliseconds. It prints the
same JSON line as load.lua. For a stream the latency is the time to the first event.
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

_CONNECTIONS = 128  # select() supports only descriptors below 1024
_RECEIVE = 256 * 1024
_GRACE = 5.0  # seconds after the last due time; requests without an answer then have failed
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(eq=False)
class Connection:
    """One connection and its current request."""

    sock: socket.socket
    due: float = 0.0
    head: bytes = b""  # of the answer, as far as it has arrived
    length: int | None = None  # of the body; -1: chunked; None: the head has not arrived
    received: int = 0  # bytes of the body
    tail: bytes = b""

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, request: bytes, due: float) -> None:
        self.due, self.head, self.length, self.received, self.tail = due, b"", None, 0, b""
        self.sock.sendall(request)

    def receive(self, data: bytes) -> bool:
        """True when the answer is complete."""
        if self.length is None:
            self.head += data
            head, found, data = self.head.partition(b"\r\n\r\n")
            if not found:
                return False
            self.length = _body_length(head)
        self.received += len(data)
        self.tail = (self.tail + data)[-len(_LAST_CHUNK) :]
        return self.tail == _LAST_CHUNK if self.length < 0 else self.received >= self.length


def _body_length(head: bytes) -> int:
    lower = head.lower()
    if b"\r\ntransfer-encoding:" in lower:
        return -1
    _, _, rest = lower.partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0] or 0)


@dataclass(eq=False)
class Pace:
    """One run. Times are in seconds."""

    port: int
    work: Work
    rate: float
    total: int
    connections: int = _CONNECTIONS
    times: list[float] = field(default_factory=list)
    errors: int = 0

    def run(self) -> None:
        requests = requests_of(self.work, self.port)
        idle = [self.open() for _ in range(self.connections)]
        busy: set[Connection] = set()
        waiting: deque[float] = deque()  # due times of requests that wait for a free connection
        start, sent, queued = perf_counter() + 0.01, 0, 0
        end = start + self.total / self.rate + _GRACE
        while sent < self.total or busy:
            now = perf_counter()
            if now > end:
                break
            while queued < self.total and start + queued / self.rate <= now:
                waiting.append(start + queued / self.rate)
                queued += 1
            while waiting and idle:
                connection = idle.pop()
                connection.send(requests[sent % len(requests)], waiting.popleft())
                busy.add(connection)
                sent += 1
            pause = start + queued / self.rate - perf_counter() if queued < self.total else _GRACE
            for connection in select.select(busy, [], [], max(0.0, pause))[0]:
                if self.receive(connection):
                    busy.discard(connection)
                    idle.append(connection)
        self.errors += self.total - sent + len(busy)
        for connection in [*idle, *busy]:
            connection.sock.close()

    def open(self) -> Connection:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Connection(sock)

    def receive(self, connection: Connection) -> bool:
        """True when the connection is free again. A connection that the proxy closed is replaced."""
        try:
            data = connection.sock.recv(_RECEIVE)
        except OSError:
            data = b""
        now, no_body_yet = perf_counter(), connection.received == 0
        if not data:
            self.errors += 1
            connection.sock.close()
            connection.sock = self.open().sock
            return True
        complete = connection.receive(data)
        if (no_body_yet and connection.received) if self.work.stream else complete:
            self.times.append(now - connection.due)
        if complete:
            self.errors += not connection.head.startswith(b"HTTP/1.1 2")
        return complete

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
