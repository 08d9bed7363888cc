"""A fake model that answers with its own name: `python -m tests.scenarios.model NAME PORT [ERRORS JITTER]`.

ERRORS is the share of answers that are a 500. JITTER is the mean latency in seconds, exponentially distributed.
SIGUSR1 switches between normal answers and a 500 for every request.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys

import uvloop

_BACKLOG = 1024  # a model that stands still for a second is slow then, and refuses nobody
HEAD = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b"


class Model:
    def __init__(self, name: bytes, errors: float, jitter: float) -> None:
        self.good = HEAD % (b"200 OK", len(name), name)
        self.bad = HEAD % (b"500 Internal Server Error", 3, b"bad")
        self.errors = errors
        self.jitter = jitter
        self.failing = False
        self.generator = random.Random(name)

    def toggle_errors(self) -> None:
        self.failing = not self.failing

    def answer(self) -> bytes:
        failing = self.failing or (self.errors and self.generator.random() < self.errors)
        return self.bad if failing else self.good


class Connection(asyncio.Protocol):
    """Reads requests with Content-Length, one at a time or pipelined."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        model = self.model
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            at = self.buffer.lower().find(b"\r\ncontent-length: ", 0, end)
            length = int(self.buffer[at + 18 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if model.jitter:
                pause = model.generator.expovariate(1 / model.jitter)
                asyncio.get_running_loop().call_later(pause, self.transport.write, model.answer())
            else:
                self.transport.write(model.answer())


async def main(name: bytes, port: int, errors: float = 0.0, jitter: float = 0.0) -> None:
    model = Model(name, errors, jitter)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, model.toggle_errors)
    server = await loop.create_server(lambda: Connection(model), "127.0.0.1", port, backlog=_BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1].encode(), int(sys.argv[2]), *map(float, sys.argv[3:])))
