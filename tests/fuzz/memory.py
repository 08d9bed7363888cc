"""A data plane without sockets: clients and origins in memory, so that a case takes less than a millisecond.

Everything behind the transports is the real thing. The origin's ears are h11's, which shares no code
with the proxy: what it hears is what a backend would have made of the bytes.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from itertools import repeat
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
from tests.fuzz.reference import Heard, Refused, next_message

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWER_TO_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
QUIET_TURNS = 4  # turns of the loop without a byte, after which nothing is on its way


class NoSocket:
    def setsockopt(self, *_: object) -> None:
        pass


class MemoryTransport(asyncio.Transport):
    """What its protocol writes goes to `heard`; the end of the connection is told in a turn of its own."""

    def __init__(self, protocol: Flow, heard: Callable[[bytes], None]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "socket": NoSocket()})
        self.protocol = protocol
        self.heard = heard
        self.closing = self.aborted = self.half_closed = False
        self.reading = True
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            assert not self.half_closed, "bytes behind the end of the stream"
            self.heard(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Flow)
        self.protocol = protocol

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
        """The peer ends the connection in order."""
        if not self.closing and not self.protocol.eof_received():
            self.close()


class Origin:
    """A connection as the origin has it: hears requests, and answers each when it is whole."""

    def __init__(self, protocol: Upstream, script: Script) -> None:
        self.protocol = protocol
        assert isinstance(protocol.endpoint, EndpointState)
        self.backend = protocol.endpoint.authority
        self.script = script
        self.raw = b""
        self.requests: list[Heard] = []
        self.unread = b""
        self.faults: list[str] = []
        self.due = False  # an answer is: until it is out, the proxy has nothing more to send
        self.transport = MemoryTransport(self.protocol, self.hear)

    def hear(self, data: bytes) -> None:
        """Faults are noted, not raised: the proxy would take them for its own."""
        if self.due:
            self.faults.append(f"{data!r} behind a request that is not answered yet")
        self.raw += data
        self.unread += data
        try:
            heard, rest = next_message(self.unread)
        except Refused as refusal:
            self.faults.append(f"{self.unread!r}: {refusal}")
            return
        if heard is not None:
            if rest:
                self.faults.append(f"{rest!r} behind the request {heard}")
            self.requests.append(heard)
            self.unread = b""
            self.due = True
            asyncio.get_running_loop().call_soon(self.script, self)

    def say(self, data: bytes) -> None:
        self.due = False
        if not self.transport.closing:
            self.transport.protocol.data_received(data)


Script = Callable[[Origin], None]


def answer(origin: Origin) -> None:
    origin.say(ANSWER_TO_HEAD if origin.requests[-1].method == b"HEAD" else ANSWER)


class Complaints(logging.Handler):
    """What the data plane logs as bugs of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Talk:
    """What came of a client's bytes. `ended` and `aborted`: by the proxy."""

    said = b""  # to the client
    ended = aborted = False

    def __init__(self) -> None:
        self.origins: list[Origin] = []
        self.copies: list[Origin] = []
        self.faults: list[str] = []

    def hear(self, data: bytes) -> None:
        self.said += data

    @property
    def requests(self) -> list[Heard]:
        return [request for origin in self.origins for request in origin.requests]

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in STATUS.findall(self.said) if status != b"100"]


class Memory:
    """One data plane for many cases, each with a client of its own. Backend v2 is all of the split."""

    def __init__(self, *routes: Route) -> None:
        self.plane = DataPlane()
        self.plane.sweeper.cancel()  # no time passes here
        self.plane.ids = repeat(b"f" * 32)
        self.origins: list[Origin] = []
        self.script: Script = answer
        self.complaints = Complaints()
        specs = {
            name: replace(
                BACKEND, name=name, endpoints=(Endpoint("127.0.0.1", 1, name, True, f"http://{name}"),)
            )
            for name in ("v2", "v3")
        }
        self.plane.use(replace(SNAPSHOT, backends=specs, routes=routes))
        self.plane.mirrors.states = {"v3": MirrorState(BackendState(specs["v3"], self.plane.note_ejection))}

    async def connect(self, make: Callable[[], Upstream], *_: object) -> Upstream:
        """In the place of `dial.connect`: without a network."""
        origin = Origin(make(), self.script)
        self.origins.append(origin)
        return origin.protocol

    async def talk(self, pieces: Sequence[bytes], script: Script) -> Talk:
        """A client that sends these pieces, each when the one before has had its effect, and then goes."""
        self.script = script
        talk = Talk()
        logging.getLogger("crossfade.dataplane").addHandler(self.complaints)
        client = Downstream(self.plane)
        transport = MemoryTransport(client, talk.hear)
        with mock.patch.object(dial, "connect", self.connect):
            for piece in pieces:
                if not transport.closing:
                    transport.protocol.data_received(piece)
                    await asyncio.sleep(0)
                    if client.exchange is not None:
                        await self.quiet(talk)
            await self.quiet(talk)
        talk.ended, talk.aborted = transport.closing or transport.half_closed, transport.aborted
        transport.close()
        await self.quiet(talk)
        self.plane.close_idle(float("inf"))
        await asyncio.sleep(0)
        logging.getLogger("crossfade.dataplane").removeHandler(self.complaints)
        talk.faults, self.complaints.texts = self.complaints.texts, []
        if self.plane.clients or self.plane.active or self.plane.mirrors.copies or self.plane.tunnels:
            talk.faults.append("something stays behind")
        for origin in self.origins:
            (talk.origins if origin.backend == b"v2" else talk.copies).append(origin)
            talk.faults += origin.faults
        self.origins = []
        return talk

    async def quiet(self, talk: Talk) -> None:
        """Until neither side has said anything for some turns of the loop."""
        calm, said = 0, -1
        while calm < QUIET_TURNS:
            await asyncio.sleep(0)
            now = len(talk.said) + sum(len(origin.raw) for origin in self.origins)
            calm = calm + 1 if now == said else 0
            said = now
