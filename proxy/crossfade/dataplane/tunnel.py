"""Tunnels: two connections joined after a 101 answer.

Rule: a tunnel opens only after a 101 that grants a valid upgrade request. Until then, bytes that the
client sends after its request do not go to the backend. After any other answer the client's connection
closes: early bytes are frames of the new protocol and must never be read as a request.

The exchange has its outcome at the 101, and its duration ends there: the length of a conversation does
not measure a model's latency. The tunnel counts as in flight at its endpoint until it ends. A reload does
not end it. It ends with the drain, or when neither side has sent or taken a byte for the idle timeout.
At the end of a drain both sides of a WebSocket get a Close 1001 between two frames; other tunnels are reset.
Each side may close its half (RFC 6455 section 7.1.1: the server closes first). A reset of one side resets
the other, so that a truncated message does not look complete.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from crossfade.dataplane.flow import ALL, PEER, Flow
from crossfade.dataplane.taking import LOOKS, Taking
from crossfade.dataplane.websocket import CLOSE_TO_CLIENT, PROTOCOL, Frames, close_to_backend
from crossfade.http1.response_head import ResponseHead
from crossfade.http1.upgrade import grants, requested

if TYPE_CHECKING:
    from crossfade.dataplane.runtime import Runtime
    from crossfade.dataplane.state import ExchangeState


def validate_upgrade(exchange: ExchangeState) -> None:
    """Drop an Upgrade that is invalid or not allowed on this route. After a valid one no other request is read."""
    head = exchange.head
    head.upgrade = requested(head, exchange.route.spec.upgrades)
    if head.upgrade is not None:
        exchange.client.expect_no_other_request()


def is_granted(exchange: ExchangeState, answer: ResponseHead) -> bool:
    """Whether this 101 grants the requested protocol."""
    protocol = exchange.head.upgrade
    if protocol is None or not grants(answer, exchange.head, protocol):
        return False
    exchange.status = answer.status
    exchange.first_byte_at = monotonic()
    exchange.answer = answer
    return True


class Tunnel:
    """It takes the exchange's place at the endpoint, and both connections from their HTTP readers."""

    def __init__(self, exchange: ExchangeState, runtime: Runtime, all_of_them: set[Tunnel]) -> None:
        assert exchange.endpoint is not None
        assert exchange.upstream is not None
        self.exchange = exchange
        self.runtime = runtime
        self.tunnels = all_of_them
        all_of_them.add(self)
        self.idle_timeout = exchange.answering.idle_timeout
        self.ended = False
        self.parting = False  # both sides are told that the proxy ends
        client, upstream = exchange.client, exchange.upstream
        self.client = End(self, client)
        self.upstream = End(self, upstream)
        self.client.other, self.upstream.other = self.upstream, self.client
        if exchange.head.upgrade == PROTOCOL:
            self.client.frames, self.upstream.frames = Frames(), Frames()
        upstream.owner = None
        exchange.upstream = None
        exchange.placed = False

    def open(self, head: bytes, rest: bytes) -> None:
        """Send the 101 and what came behind it to the client, and the client's early bytes to the backend."""
        client = self.exchange.client
        self.touch()
        early = bytes(client.buffer)
        client.buffer.clear()
        if self.client.frames is not None and self.upstream.frames is not None:
            self.client.frames.read(early)
            self.upstream.frames.read(rest)
        self.client.resume(ALL)
        self.upstream.resume(ALL)
        if not client.writable:
            self.upstream.pause(PEER)
        self.client.transport.write(head + rest)  # each write may pause the other side
        if early:
            self.upstream.transport.write(early)
        if client.half_closed:
            self.client.eof_received()

    def touch(self) -> None:
        self.deadline = self.runtime.now + self.idle_timeout

    def on_deadline(self, now: float) -> None:
        wait = max(
            self.client.next_look(now, self.idle_timeout), self.upstream.next_look(now, self.idle_timeout)
        )
        if wait:
            self.deadline = now + wait
        else:
            self.cut()

    def cut(self) -> None:
        """Reset one side; `on_lost` then resets the other."""
        self.touch()
        (self.upstream if self.client.lost else self.client).abort()

    def part(self) -> None:
        """Tell both sides of a WebSocket that the proxy ends: in each direction when its current frame has ended."""
        if not self.parting and self.client.frames is not None:
            self.parting = True
            self.upstream.part(CLOSE_TO_CLIENT)
            self.client.part(close_to_backend())

    def end_drain(self) -> None:
        """The drain is over: close a side that was told so, and reset one that was not."""
        for end in (self.client, self.upstream):
            if end.lost:
                continue
            if end.other.is_muted and not end.transport.get_write_buffer_size():
                end.transport.abort()  # the system still sends what it has, and a FIN
            else:
                end.abort()

    def on_end(self) -> bool:
        """A side has closed its half. Returns whether the other side may continue."""
        client, upstream = self.client, self.upstream
        halves = client.transport.can_write_eof() and upstream.transport.can_write_eof()  # not over TLS
        if halves and not (client.done and upstream.done):
            return True
        for end in (client, upstream):
            end.done = True
            end.transport.close()
        return False

    def on_lost(self, end: End) -> None:
        """A connection is lost. After an orderly end the other closes by itself; otherwise it is reset."""
        if end is self.client:
            self.exchange.client.connection_lost(None)
        if end.other.lost:
            self.end()
        elif not (end.done and end.other.done) and not (self.parting and end.has_said_all()):
            end.other.abort()

    def end(self) -> None:
        exchange = self.exchange
        assert exchange.endpoint is not None
        self.ended = True
        self.tunnels.discard(self)
        exchange.endpoint.in_flight -= 1
        exchange.answering.in_flight -= 1
        if exchange.answering.is_exact:
            exchange.answering.capacity.give_back()


class End(Flow):
    """One of a tunnel's two connections. Its bytes go to the other one."""

    other: End
    done = False  # it has closed its half
    lost = False

    def __init__(self, tunnel: Tunnel, former: Flow) -> None:
        self.tunnel = tunnel
        self.frames: Frames | None = None  # that it sends; None if it speaks no WebSocket
        self.farewell = b""  # the Close that follows its current frame to the other side
        self.is_muted = False  # that Close is sent, and nothing may follow it
        self.transport = former.transport
        self.waits = False
        self.paused, self.pauses = former.paused, former.pauses
        self.taking = former.taking
        self.transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self.tunnel.touch()
        if self.frames is not None:
            data = self.follow(self.frames, data)
            if not data:
                return
        self.other.transport.write(data)

    def follow(self, frames: Frames, data: bytes) -> bytes:
        """Returns what goes to the other side."""
        if not self.farewell:
            frames.read(data)
            return data
        if self.is_muted:
            frames.read(data)
            data = b""
        else:
            end = frames.read(data, True)
            if frames.is_between() and not frames.has_closed:
                frames.read(data[end:])
                data = data[:end] + self.farewell
                self.is_muted = True
        if frames.has_closed and self.other.is_muted:  # both have said Close (RFC 6455 section 7.1.1)
            self.transport.close()
        return b"" if self.other.transport.is_closing() else data

    def part(self, farewell: bytes) -> None:
        """Send it to the other side behind the frame that is under way."""
        assert self.frames is not None
        self.farewell = farewell
        if self.has_said_all() or not self.frames.is_between() or self.other.transport.is_closing():
            return
        self.is_muted = True
        self.other.transport.write(farewell)

    def has_said_all(self) -> bool:
        return self.done or self.is_muted or (self.frames is not None and self.frames.has_closed)

    def eof_received(self) -> bool:
        self.tunnel.touch()
        self.done = True
        if self.tunnel.parting:
            return False
        goes_on = self.tunnel.on_end()
        if goes_on:
            self.other.transport.write_eof()
        return goes_on

    def pause_writing(self) -> None:
        self.taking = Taking(self.transport, monotonic())
        self.tunnel.deadline = self.taking.moved_at + self.tunnel.idle_timeout / LOOKS
        if not self.other.done:
            self.other.pause(PEER)

    def resume_writing(self) -> None:
        self.taking = None
        self.tunnel.touch()
        if not self.other.done:
            self.other.resume(PEER)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.tunnel.on_lost(self)
