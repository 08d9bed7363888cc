"""Model servers inside this process, whose faults the soak commands. Each answers with the id of the request, its name and an end mark."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from enum import StrEnum

from tests.soak.laws import CUTS, FAILS, HANGS, REJECTS
from tests.soak.record import Record

HEAD = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%b\r\n\r\n"
END = "the end"


class Mode(StrEnum):
    WELL = "well"
    FAILS = FAILS
    REJECTS = REJECTS
    HANGS = HANGS
    CUTS = CUTS


@dataclass
class Behaviour:
    """Of all endpoints of a backend. `share` of the requests meet the mode."""

    mode: Mode = Mode.WELL
    share: float = 1.0
    probes_pass: bool = True


class Model:
    """One endpoint; several can share a behaviour."""

    def __init__(self, name: str, record: Record, behaviour: Behaviour, seed: str) -> None:
        self.name, self.record, self.behaviour = name, record, behaviour
        self.random = random.Random(seed)
        self.port = 0
        self.connections = set[Connection]()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    def die(self) -> None:
        """As a killed process: the address refuses, and open connections are reset."""
        self.server.close()
        for connection in list(self.connections):
            connection.transport.abort()

    def mode(self) -> Mode:
        behaviour = self.behaviour
        return behaviour.mode if self.random.random() < behaviour.share else Mode.WELL


class Connection(asyncio.Protocol):
    """Reads requests with Content-Length. The request's id is in its query: `/predict?id=7`."""

    transport: asyncio.Transport

    def __init__(self, model: Model) -> None:
        self.model = model
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.model.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.model.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(_field(head, b"content-length") or 0)
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        target = head.split(b" ", 2)[1].decode()
        if target.startswith("/health"):
            code = 200 if self.model.behaviour.probes_pass else 503
            self.transport.write(HEAD % (code, b"Content-Length: 0"))
            return
        number = int(target.rpartition("id=")[2])
        if not _field(head, b"x-crossfade-mirror"):
            self.model.record.saw(number, self.model.name)
        said = {"id": number, "backend": self.model.name, "received": len(body), "score": 0.5}
        if "long" in target:
            said["pad"] = "x" * 30_000
        self.send(self.model.mode(), json.dumps({**said, "end": END}).encode(), chunked="chunked" in target)

    def send(self, mode: Mode, body: bytes, chunked: bool) -> None:
        if mode is Mode.HANGS:
            return
        if mode in (Mode.FAILS, Mode.REJECTS):
            body = b'{"error": "as told"}'
            self.transport.write(HEAD % (500 if mode is Mode.FAILS else 404, _length(body)) + body)
            return
        whole, half = mode is Mode.WELL, body[: len(body) // 2]
        if chunked:
            parts = (half, body[len(half) :]) if whole else (half,)
            encoded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            self.transport.write(HEAD % (200, b"Transfer-Encoding: chunked") + encoded + b"0\r\n\r\n" * whole)
        else:
            self.transport.write(HEAD % (200, _length(body)) + (body if whole else half))
        if not whole:
            self.transport.close()


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def _field(head: bytes, name: bytes) -> bytes:
    """The head is in lower case."""
    at = head.find(b"\r\n" + name + b":")
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip() if at >= 0 else b""
