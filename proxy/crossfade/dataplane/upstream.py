"""One HTTP/1 connection to an endpoint.

Rule: a connection is pooled only if the request was sent and the answer received completely, no bytes follow it, and
the backend did not ask to close. Unrequested bytes close it. The owner is told of exactly one end of the answer.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from time import monotonic
from typing import Final

from crossfade.dataplane import relay
from crossfade.dataplane.flow import ALL, Flow
from crossfade.dataplane.owner import Owner
from crossfade.dataplane.taking import Taking
from crossfade.errors import ResponseRefused, Stage
from crossfade.http1.framing import (
    BodyReader,
    BrokenBody,
    ChunkedReader,
    LengthReader,
    UntilCloseReader,
    chunks,
)
from crossfade.http1.incomplete import check_response, is_check_due
from crossfade.http1.lines import CHUNKED
from crossfade.http1.response_head import UNTIL_CLOSE, ResponseHead, parse_response
from crossfade.http1.trace_context import without_traceparent
from crossfade.routing.health import Health
from crossfade.routing.rewriting import Rewriting, without_replaced
from crossfade.routing.snapshot import Endpoint
from crossfade.unread import had_end, unread

log = logging.getLogger("crossfade.dataplane")

HEAD_LIMIT: Final = 64 * 1024  # bytes of an answer's head; nginx allows 4 to 8 KiB, Envoy 60


class Pool:
    """The interface of a connection to its endpoint."""

    spec: Endpoint
    authority: bytes
    health: Health
    rewriting: Rewriting | None
    usual_head: ResponseHead | None  # of its last answer, if that head is cached

    def answered(self, status: int) -> None:
        raise NotImplementedError

    def put(self, upstream: Upstream) -> None:
        raise NotImplementedError

    def forget(self, upstream: Upstream) -> None:
        raise NotImplementedError

    def keep_session(self, upstream: Upstream) -> None:
        """Its TLS session, for the next connection."""
        raise NotImplementedError


class Upstream(Flow):
    """The sender of a request is the `owner` until the answer is complete."""

    def __init__(self, endpoint: Pool) -> None:
        self.endpoint = endpoint
        self.owner: Owner | None = None
        self.buffer = bytearray()  # an incomplete head
        self.reader: BodyReader | None = None
        self.keeps_alive = True
        self.got_end = False  # the backend ended its side of the connection in order
        self.status = 0
        self.reused = False
        self.idle_since = 0.0
        self.chunked = False  # whether the request's body is sent in chunks
        self.streams = False  # whether a part of the body was sent after the head

    # ── the request ───────────────────────────────────────────────────────────────────────────

    def ask(self, owner: Owner, body: bytes, mark: bytes = b"") -> None:
        """Send a request: its head, written from the parsed one (design 3.4), and the part of its body that is here.

        The proxy adds `mark`, the Forwarded fields and, if `owner` has a trace, a traceparent with it in place of a client's own. That one is
        sampled (flag 01): 00 would make samplers that follow their parent, the usual ones, record nothing.
        """
        self.owner = owner
        self.streams = False
        head = owner.head
        rewriting = self.endpoint.rewriting
        if rewriting is not None and rewriting.json is not None and owner.request_done:
            body = rewriting.json.rewritten(head, body)
        length = len(body) if owner.request_done and not owner.trailers else head.length
        self.chunked = length == CHUNKED
        if self.chunked:
            body = chunks(body, owner.request_done, without_replaced(owner.trailers, rewriting))
        named = host = head.host or self.endpoint.authority
        if rewriting is None:
            line, block = head.start.request_line, head.block
        else:
            line, block = rewriting.request_line(head.start, owner.route.matched), rewriting.block(head)
            named = rewriting.host or host
        if head.upgrade is not None or head.takes_trailers:
            block += relay.hop_fields(head.upgrade, head.takes_trailers)
        if owner.expecting:
            block += relay.EXPECTATION
        if mark:
            block += mark
        lines = owner.forwarded_lines
        if head.host is None:  # they have no host yet
            lines = relay.forwarded(lines, host, head.public_host or host)
        framing = relay.framing(length) if length or head.start.states_length else b"\r\n\r\n"
        own = owner.trace
        if not own:
            message = b"%b%b\r\n%b%b%b%b%b" % (line, named, block, lines, owner.request_id, framing, body)
        else:
            if head.traced:
                block = without_traceparent(block)
            message = b"%b%b\r\n%btraceparent: 00-%b-01\r\n%b%b%b%b" % (
                line, named, block, own, lines, owner.request_id, framing, body,
            )  # fmt: skip
        self.transport.write(message)

    def send(self, data: bytes, done: bool, trailers: bytes) -> None:
        """Send another part of the request's body."""
        if self.transport.is_closing():
            return
        self.streams = True
        if self.chunked:
            self.transport.write(chunks(data, done, without_replaced(trailers, self.endpoint.rewriting)))
        elif data:
            self.transport.write(data)

    # ── the answer ────────────────────────────────────────────────────────────────────────────

    def may_wait(self) -> bool:
        return self.owner is not None and self.reader is None

    def handle(self, data: bytes) -> None:
        owner = self.owner
        if owner is None:
            self.close()
            return
        try:
            if self.reader is not None:
                self.read_body(owner, self.reader, data)
            elif self.buffer:
                self.read_rest_of_head(owner, data)
            else:
                self.read_head(owner, data)
        except Exception:  # else the event loop would close the connection and the client would wait (law 1)
            log.exception("internal error while an answer was read; the exchange fails")
            self.close()
            owner.on_upstream_failed(Stage.BUG)

    def read_head(self, owner: Owner, data: bytes) -> None:
        """Read the answer's head, and the 1xx before it. An endpoint mostly repeats its last head."""
        usual = self.endpoint.usual_head
        if usual is not None and data.startswith(usual.raw) and not owner.head.start.bodiless:
            self.start_body(owner, usual, data[len(usual.raw) :])
            return
        start = 0
        while self.owner is owner:
            end = data.find(b"\r\n\r\n", start) + 4
            try:
                if end < 4 or end - start > HEAD_LIMIT:
                    self.wait_for_head(data[start:])
                    return
                head = parse_response(data[start:end], owner.head.start.method)
            except ResponseRefused:
                self.fail(Stage.PROTOCOL)
                return
            if head.status >= 200:
                if head.raw:
                    self.endpoint.usual_head = head
                self.start_body(owner, head, data[end:])
                return
            if head.status == 101:
                if self.transport.is_closing() or not owner.on_switch(head, data[end:]):
                    self.fail(Stage.PROTOCOL)
                elif self.endpoint.health.failures:
                    self.endpoint.answered(101)
                return
            owner.on_interim(head)
            start = end

    def wait_for_head(self, data: bytes) -> None:
        """Keep the beginning of a head. Raises ResponseRefused if it cannot become a valid one, or is too long."""
        if len(data) > HEAD_LIMIT:
            raise ResponseRefused(f"the response head is longer than {HEAD_LIMIT} bytes")
        check_response(data)
        self.buffer += data

    def read_rest_of_head(self, owner: Owner, data: bytes) -> None:
        """A head in many pieces is not parsed for each of them."""
        known = len(self.buffer)
        self.buffer += data
        if (
            len(self.buffer) <= HEAD_LIMIT
            and self.buffer.find(b"\r\n\r\n", max(known - 3, 0)) < 0
            and not is_check_due(self.buffer, known)
        ):
            return
        data = bytes(self.buffer)
        self.buffer.clear()
        self.read_head(owner, data)

    def start_body(self, owner: Owner, head: ResponseHead, body: bytes) -> None:
        self.keeps_alive = head.keep_alive
        self.status = head.status
        if head.status >= 500:
            self.endpoint.answered(head.status)
        if len(body) == head.length:
            self.owner = None  # the owner must not close it any more
            owner.on_response(head, body, True)
            self.release(owner.request_done)
            return
        self.reader = reader = body_reader(head)
        owner.answer_trailers = b""  # not those of an answer before a fallback
        try:
            payload = reader.feed(body)
        except BrokenBody:
            self.fail(Stage.PROTOCOL)
            return
        if reader.done:
            self.end_body(owner, reader)
        owner.on_response(head, payload, reader.done)
        if reader.done:
            self.release(owner.request_done)

    def read_body(self, owner: Owner, reader: BodyReader, data: bytes) -> None:
        try:
            payload = reader.feed(data)
        except BrokenBody:
            self.fail(Stage.BODY)
            return
        if reader.done:
            self.end_body(owner, reader)
        owner.on_response_body(payload, reader.done, reader.framed)
        if reader.done:
            self.release(owner.request_done)

    def end(self, surplus: bytes = b"") -> None:
        """The answer is complete: the connection has no owner, so nobody else closes it."""
        self.owner = None
        self.reader = None
        if surplus:
            self.keeps_alive = False

    def end_body(self, owner: Owner, reader: BodyReader) -> None:
        if reader.trailers and owner.head.takes_trailers:  # RFC 9110 section 6.5.1
            owner.answer_trailers = reader.trailers
        self.end(reader.surplus)

    def release(self, request_done: bool) -> None:
        """Put the connection into the pool, or close it."""
        if not self.reused and self.endpoint.spec.tls:
            self.endpoint.keep_session(self)
        if self.endpoint.health.failures and self.status < 500:
            self.endpoint.answered(self.status)
        if self.keeps_alive and request_done and not self.transport.get_write_buffer_size():
            if self.paused:
                self.resume(ALL)
            self.endpoint.put(self)
        else:
            self.close()

    def fail(self, stage: Stage) -> None:
        owner = self.owner
        self.close()
        if owner is not None:
            owner.on_upstream_failed(stage)

    def close(self) -> None:
        """Close the connection at once, without telling the owner."""
        self.owner = None
        self.reader = None
        self.endpoint.forget(self)
        self.transport.abort()

    def eof_received(self) -> bool:
        """Over TLS only a close_notify is an end: anyone on the path can end a TCP connection."""
        if self.waits:
            return self.caught_up().eof_received()
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if tls is None:
            self.got_end = True
        else:  # asyncio calls this for a FIN without close_notify too, uvloop does not
            with contextlib.suppress(ssl.SSLError):
                self.got_end = not tls.read(1)  # true after a close_notify (RFC 8446 section 6.1)
        if (
            self.transport.get_write_buffer_size()
        ):  # no answer can come any more: do not wait until the backend reads
            self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waits:
            self.caught_up().connection_lost(exc)
            return
        if isinstance(exc, OSError) and not self.endpoint.spec.tls and (self.streams or not self.reused):
            self.read_unread()
            self.got_end = self.got_end or had_end(exc)
        self.endpoint.forget(self)
        owner, reader = self.owner, self.reader
        if owner is None:
            return
        self.owner = self.reader = None
        if isinstance(reader, UntilCloseReader) and self.got_end:
            owner.on_response_body(b"", True, b"")
        elif reader is not None:
            owner.on_upstream_failed(Stage.BODY)
        elif self.buffer:
            owner.on_upstream_failed(Stage.PROTOCOL)
        elif (
            isinstance(exc, ssl.SSLError) and not self.reused
        ):  # in TLS 1.3 a server refuses a client after the handshake
            owner.on_upstream_failed(Stage.TLS)
        else:
            owner.on_upstream_failed(Stage.STALE if self.reused else Stage.RESET)

    def read_unread(self) -> None:
        """A write failed: read the answer that may have come before.

        On a reused connection not for a request sent in one piece: those bytes came before the request, such as a 408.
        """
        for data in unread(self.transport.transport):
            if self.owner is None:
                return
            self.handle(data)

    def pause_writing(self) -> None:
        self.taking = Taking(self.transport, monotonic())
        if self.owner is not None:
            self.owner.on_upstream_writable(False)

    def resume_writing(self) -> None:
        self.taking = None
        if self.owner is not None:
            self.owner.on_upstream_writable(True)


def body_reader(head: ResponseHead) -> BodyReader:
    if head.length == CHUNKED:
        return ChunkedReader(head.nominees)
    if head.length == UNTIL_CLOSE:
        return UntilCloseReader()
    return LengthReader(head.length)
