"""Tunnels: what is left of an exchange once client and backend have agreed to speak another protocol.

Rule: a tunnel opens only behind a 101 that grants what the client validly asked for. Until then nothing
that the client sends behind its request goes to the backend, and after any other answer the connection
closes: what came early is frames, and must never be read as a request.

With the 101 the exchange has its one outcome, and its duration ends there: what follows is as long as
the two care to talk, and says nothing of how fast a model is. Until the tunnel ends it counts as in
flight at its endpoint. It outlives reloads, has until the drain's end, and is cut when no byte came
either way for the backend's idle timeout. Each side may close its half (RFC 6455 section 7.1.1 has
servers do so first); a side that breaks breaks the other, so that nothing cut short looks complete.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from crossfade.dataplane.flow import Flow
from crossfade.http1.head import ResponseHead
from crossfade.http1.upgrade import grants, requested

if TYPE_CHECKING:
    from crossfade.dataplane.runtime import Runtime
    from crossfade.dataplane.state import ExchangeState


def validate_upgrade(exchange: ExchangeState) -> None:
    """An Upgrade that is not valid, or not for this route, is forgotten; behind a valid one no request is read."""
    head = exchange.head
    head.upgrade = requested(head, exchange.route.spec.upgrades)
    if head.upgrade is not None:
        exchange.client.expect_no_other_request()


def is_granted(exchange: ExchangeState, answer: ResponseHead) -> bool:
    """Does this 101 grant what was asked for?"""
    protocol = exchange.head.upgrade
    if protocol is None or not grants(answer, exchange.head, protocol):
        return False
    exchange.status = answer.status
    exchange.first_byte_at = monotonic()
    exchange.answer = answer
    return True


class Tunnel:
    """It takes over the exchange's place at the endpoint, and both connections from those who read HTTP."""

    def __init__(self, exchange: ExchangeState, runtime: Runtime, all_of_them: set[Tunnel]) -> None:
        assert exchange.endpoint is not None
        assert exchange.upstream is not None
        self.exchange = exchange
        self.runtime = runtime
        self.tunnels = all_of_them
        all_of_them.add(self)
        self.idle_timeout = exchange.answering.idle_timeout
        self.ended = False
        client, upstream = exchange.client, exchange.upstream
        self.client = End(self, client)
        self.upstream = End(self, upstream)
        self.client.other, self.upstream.other = self.upstream, self.client
        upstream.owner = None
        exchange.upstream = None
        exchange.placed = False

    def open(self, first: bytes) -> None:
        """`first` goes to the client; the backend gets what the client sent early."""
        client = self.exchange.client
        self.touch()
        early, client.buffer = client.buffer, b""
        self.client.set_reading(True)
        self.upstream.set_reading(client.writable)
        self.client.transport.write(first)  # each write may stop the other side at once
        if early:
            self.upstream.transport.write(early)
        if client.half_closed:
            self.client.eof_received()

    def touch(self) -> None:
        self.deadline = self.runtime.now + self.idle_timeout

    def on_deadline(self, now: float) -> None:
        self.cut()

    def cut(self) -> None:
        """One side, and the other one follows."""
        self.touch()
        (self.upstream if self.client.lost else self.client).abort()

    def on_end(self) -> bool:
        """A side sends no more. Returns whether the other one may go on."""
        client, upstream = self.client, self.upstream
        halves = client.transport.can_write_eof() and upstream.transport.can_write_eof()  # TLS has none here
        if halves and not (client.done and upstream.done):
            return True
        for end in (client, upstream):
            end.done = True
            end.transport.close()
        return False

    def on_lost(self, end: End) -> None:
        """One connection is gone: behind an orderly end the other one follows by itself, else it is cut."""
        if end is self.client:
            self.exchange.client.connection_lost(None)
        if end.other.lost:
            self.end()
        elif not (end.done and end.other.done):
            end.other.abort()

    def end(self) -> None:
        exchange = self.exchange
        assert exchange.endpoint is not None
        self.ended = True
        self.tunnels.discard(self)
        exchange.endpoint.in_flight -= 1
        exchange.answering.in_flight -= 1


class End(Flow):
    """One of a tunnel's two connections; what it gets goes to the other one."""

    other: End
    done = False  # it sends no more
    lost = False

    def __init__(self, tunnel: Tunnel, former: Flow) -> None:
        self.tunnel = tunnel
        self.transport = former.transport
        self.reading = former.reading
        self.transport.set_protocol(cast(asyncio.Protocol, self))

    def data_received(self, data: bytes) -> None:
        self.tunnel.touch()
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.tunnel.touch()
        self.done = True
        goes_on = self.tunnel.on_end()
        if goes_on:
            self.other.transport.write_eof()
        return goes_on

    def pause_writing(self) -> None:
        if not self.other.done:
            self.other.set_reading(False)

    def resume_writing(self) -> None:
        if not self.other.done:
            self.other.set_reading(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.tunnel.on_lost(self)
