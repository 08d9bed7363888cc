"""Origins with constant answers that need little CPU: `python -m loadtests.peers.origin a=PORT …`.

`/large` is answered with 100 kB, `/events` with server-sent events, `/echo` with the head of the request, other
paths with a small JSON body; `x-origin` names the origin. It reads only HTTP/1.1 requests with Content-Length,
and needs the next request on a connection to come after the end of a stream.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from loadtests.work import EVENT_GAP, EVENTS

SMALL = b'{"customer_id":"c-000042","churn_probability":0.4217,"risk_level":"medium","model_version":"v2"}'
LARGE = b"x" * 100_000
_EVENT = b'data: {"token": "crossfade", "index": 7, "finished": false}\n\n'
_EVENT_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_BACKLOG = 1024


def response(name: str, media: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\nX-Origin: {name}\r\n\r\n"
    )
    return head.encode() + body


def _stream_head(name: str) -> bytes:
    media = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    return f"HTTP/1.1 200 OK\r\n{media}Transfer-Encoding: chunked\r\nX-Origin: {name}\r\n\r\n".encode()


class Origin(asyncio.Protocol):
    """One connection; requests may arrive in any parts, or several at once."""

    def __init__(self, name: str, small: bytes, large: bytes) -> None:
        self.name, self.small, self.large = name, small, large
        self.pending = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # the class of uvloop is not a subclass

    def data_received(self, data: bytes) -> None:
        data = self.pending + data if self.pending else data
        while (head_end := data.find(b"\r\n\r\n")) >= 0:
            end = head_end + 4 + _content_length(data[:head_end])
            if len(data) < end:
                break
            if data.startswith(b"GET /events "):
                self.stream(EVENTS)
            else:
                self.transport.write(self.answer(data[:head_end]))
            data = data[end:]
        self.pending = data

    def stream(self, left: int) -> None:
        """Sends one event now, and the others each after EVENT_GAP."""
        start = _stream_head(self.name) if left == EVENTS else b""
        self.transport.write(start + _EVENT_CHUNK + (b"" if left > 1 else b"0\r\n\r\n"))
        if left > 1:
            asyncio.get_running_loop().call_later(EVENT_GAP, self.stream, left - 1)

    def answer(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if path == b"/large":
            return self.large
        return response(self.name, "text/plain", head) if path == b"/echo" else self.small


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def start(name: str, port: int) -> asyncio.Server:
    small, large = (
        response(name, "application/json", SMALL),
        response(name, "application/octet-stream", LARGE),
    )
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Origin(name, small, large), "127.0.0.1", port, backlog=_BACKLOG)


async def serve(origins: dict[str, int]) -> None:
    servers = [await start(name, port) for name, port in origins.items()]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(serve({name: int(port) for name, _, port in (word.partition("=") for word in sys.argv[1:])}))
