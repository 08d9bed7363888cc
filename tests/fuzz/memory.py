"""A data plane without sockets: clients and origins in memory, so that a case takes less than a millisecond.

Everything behind the transports is the production code. The origin parses requests with h11, which shares no code
with the proxy, so it reads the bytes as an independent backend would.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import cast
from unittest import mock

from msgspec.structs import replace

from crossfade import dial
from crossfade.dataplane.downstream import Downstream
from crossfade.dataplane.endpoint import BackendState, EndpointState
from crossfade.dataplane.flow import Flow
from crossfade.dataplane.listener import DataPlane
from crossfade.dataplane.mirror import MirrorState
from crossfade.dataplane.upstream import Upstream
from crossfade.routing.snapshot import Endpoint, Route
from tests.dataplane.plane import BACKEND, SNAPSHOT
from tests.fuzz.reference import Parsed, Refused, next_message

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWER_TO_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
QUIET_TURNS = 4  # turns of the loop without a byte, after which the exchange is at rest


class NoSocket:
    def setsockopt(self, *_: object) -> None:
        pass

    def getsockopt(self, *_: object) -> bytes:
        raise OSError

    def fileno(self) -> int:
        return -1


class MemoryTransport(asyncio.Transport):
    """Passes writes to `on_write`. connection_lost is called in a later turn of the loop."""

    def __init__(self, protocol: Flow, on_write: Callable[[bytes], None]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "socket": NoSocket()})
        self.protocol = protocol
        self.on_write = on_write
        self.closing = self.aborted = self.half_closed = False
        self.reading = True
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            assert not self.half_closed, "bytes after the end of the stream"
            self.on_write(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Flow)
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self.protocol)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = self.aborted or not self.closing
        self.close()

    def end(self) -> None:
        """The peer closes the connection."""
        if not self.closing and not self.protocol.eof_received():
            self.close()


class Origin:
    """The origin's end of a connection: parses requests and answers each one when it is complete."""

    def __init__(self, protocol: Upstream, script: Script) -> None:
        self.protocol = protocol
        assert isinstance(protocol.endpoint, EndpointState)
        self.backend = protocol.endpoint.authority
        self.script = script
        self.raw = b""
        self.requests: list[Parsed] = []
        self.unread = b""
        self.faults: list[str] = []
        self.due = False  # an answer is due: until it is sent, the proxy must not send more
        self.transport = MemoryTransport(self.protocol, self.receive)

    def receive(self, data: bytes) -> None:
        """Faults are recorded, not raised, since the proxy would catch them."""
        if self.due:
            self.faults.append(f"{data!r} behind a request that is not answered yet")
        self.raw += data
        self.unread += data
        try:
            parsed, rest = next_message(self.unread)
        except Refused as refusal:
            self.faults.append(f"{self.unread!r}: {refusal}")
            return
        if parsed is not None:
            if rest:
                self.faults.append(f"{rest!r} behind the request {parsed}")
            self.requests.append(parsed)
            self.unread = b""
            self.due = True
            asyncio.get_running_loop().call_soon(self.script, self)

    def send(self, data: bytes) -> None:
        self.due = False
        if not self.transport.closing:
            self.transport.protocol.data_received(data)


Script = Callable[[Origin], None]


def answer(origin: Origin) -> None:
    origin.send(ANSWER_TO_HEAD if origin.requests[-1].method == b"HEAD" else ANSWER)


class ErrorLog(logging.Handler):
    """Collects what the data plane logs."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Trace:
    """The effects of a client's bytes. `ended` and `aborted`: whether the proxy closed or reset the connection."""

    to_client = b""
    ended = aborted = False

    def __init__(self) -> None:
        self.origins: list[Origin] = []
        self.copies: list[Origin] = []
        self.faults: list[str] = []

    def receive(self, data: bytes) -> None:
        self.to_client += data

    @property
    def requests(self) -> list[Parsed]:
        return [request for origin in self.origins for request in origin.requests]

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in STATUS.findall(self.to_client) if status != b"100"]


class Memory:
    """One data plane for many cases, each with its own client. Backend v2 has the whole split."""

    def __init__(self, *routes: Route) -> None:
        self.plane = DataPlane()
        self.origins: list[Origin] = []
        self.script: Script = answer
        self.error_log = ErrorLog()
        specs = {
            name: replace(
                BACKEND, name=name, endpoints=(Endpoint("127.0.0.1", 1, name, True, f"http://{name}"),)
            )
            for name in ("v2", "v3")
        }
        self.plane.use(replace(SNAPSHOT, backends=specs, routes=routes))
        self.plane.stop_sweeping()  # without sweeps no deadline passes
        self.plane.mirrors.states = {"v3": MirrorState(BackendState(specs["v3"], self.plane.note_ejection))}

    async def connect(self, make: Callable[[], Upstream], *_: object) -> Upstream:
        """Replaces `dial.connect`, without a network."""
        origin = Origin(make(), self.script)
        self.origins.append(origin)
        return origin.protocol

    async def relay(self, pieces: Sequence[bytes], script: Script) -> Trace:
        """Send these pieces as a client, each when the effects of the one before have ended; then disconnect."""
        self.script = script
        self.plane.id_beginning, self.plane.ids_made = b"f" * 29, 0  # the same ids for each case
        trace = Trace()
        logging.getLogger("crossfade.dataplane").addHandler(self.error_log)
        client = Downstream(self.plane)
        transport = MemoryTransport(client, trace.receive)
        with mock.patch.object(dial, "connect", self.connect):
            for piece in pieces:
                if not transport.closing:
                    transport.protocol.data_received(piece)
                    await asyncio.sleep(0)
                    if client.exchange is not None:
                        await self.quiet(trace)
            await self.quiet(trace)
        trace.ended, trace.aborted = transport.closing or transport.half_closed, transport.aborted
        transport.close()
        await self.quiet(trace)
        self.plane.close_idle(float("inf"))
        await asyncio.sleep(0)
        logging.getLogger("crossfade.dataplane").removeHandler(self.error_log)
        trace.faults, self.error_log.texts = self.error_log.texts, []
        if self.plane.clients or self.plane.active or self.plane.mirrors.copies or self.plane.tunnels:
            trace.faults.append("something is left open")
        for origin in self.origins:
            (trace.origins if origin.backend == b"v2" else trace.copies).append(origin)
            trace.faults += origin.faults
        self.origins = []
        return trace

    async def quiet(self, trace: Trace) -> None:
        """Wait until no side has sent anything for some turns of the loop."""
        calm, said = 0, -1
        while calm < QUIET_TURNS:
            await asyncio.sleep(0)
            now = len(trace.to_client) + sum(len(origin.raw) for origin in self.origins)
            calm = calm + 1 if now == said else 0
            said = now
