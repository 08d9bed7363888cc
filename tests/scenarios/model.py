"""A model stand-in: answers every request with its own name. Run as `python -m tests.scenarios.model NAME PORT`."""

from __future__ import annotations

import asyncio
import sys

import uvloop


class Answering(asyncio.Protocol):
    """Reads requests with Content-Length, one at a time or pipelined."""

    def __init__(self, name: bytes) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (
            len(name),
            name,
        )
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            at = self.buffer.lower().find(b"\r\ncontent-length: ", 0, end)
            length = int(self.buffer[at + 18 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(self.answer)


async def main(name: bytes, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Answering(name), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1].encode(), int(sys.argv[2])))
