"""The client side: one connection, its requests in order, one exchange at a time.

Pipelined requests wait in the buffer until the previous answer is sent. After a framing error the
proxy reads no further request from the connection: it no longer knows where a request begins.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final

from crossfade.dataplane import expectation, half_close
from crossfade.dataplane.backlog import CR, check_beginning, take_body, take_head
from crossfade.dataplane.exchange import Exchange
from crossfade.dataplane.flow import ALL, ANSWERS, OF_EXCHANGE, PIPELINE
from crossfade.dataplane.least_rate import LeastRate
from crossfade.dataplane.lingering import Lingering
from crossfade.dataplane.origin import Origin
from crossfade.dataplane.owner import Owner
from crossfade.dataplane.plane import Plane
from crossfade.dataplane.response_writer import ResponseWriter
from crossfade.dataplane.state import NEVER
from crossfade.dataplane.taking import Taking
from crossfade.dataplane.turn import TURN
from crossfade.errors import FAILURES, RequestRefused, Stage
from crossfade.http1.forwarded import TrustedProxies, canonical, forwarding_of_client, forwarding_of_proxy
from crossfade.http1.framing import BrokenBody, ChunkedReader, LengthReader
from crossfade.http1.incomplete import is_check_due
from crossfade.http1.lines import CHUNKED
from crossfade.http1.request_head import LastHead, RequestHead, parse_request

log = logging.getLogger("crossfade.dataplane")
_CLOCK: Final = monotonic  # bound when it is built

PIPELINE_LIMIT: Final = 64 * 1024  # bytes behind a request; above it the proxy stops reading from the client
DRAIN_IDLE = 1.0  # seconds an idle client may still send a last request during a drain


class Downstream(ResponseWriter):
    """One client connection. `deadline`: until when the client must send a head or its next request."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.address = b""
        self.peer = b""  # client of this request: the peer address, or the client named by a trusted proxy
        self.about_peer = b""  # the forwarded lines without the request's host
        self.origin = Origin()
        self.trusts: TrustedProxies | None = None
        self.knows: TrustedProxies | None = None
        self.buffer = bytearray()
        self.sought = 0  # how far the incomplete head in the buffer was searched for its end
        self.last_head = LastHead()
        self.exchange = None
        self.reader = None
        self.body_rate: LeastRate | None = None
        self.bodiless = False
        self.recode = False  # whether the proxy frames the answer in its own chunks
        self.keep_alive = True
        self.writable = True
        self.problem_fields = b""
        self.lingering: Lingering | None = None
        self.half_closed = self.tunnelled = False
        self.deadline = NEVER

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = canonical(peer[0]) if isinstance(peer, tuple) else b"unknown"
        self.recognise()
        snapshot = self.plane.snapshot
        self.deadline = self.plane.now + (DRAIN_IDLE if self.plane.hurrying else snapshot.head_timeout)
        self.plane.clients.add(self)
        if len(self.plane.clients) > snapshot.connections:
            self.refuse(RequestRefused(Stage.OVERLOAD, "Too many connections."))
            self.close()  # no lingering: it would keep the connection open, and connections are scarce

    def recognise(self) -> None:
        """Look up whether the peer is a trusted proxy: once per connection, and again after a change of whom to trust."""
        self.knows = trusted = self.plane.trusted
        self.last_head.clear()
        self.trusts = trusted if trusted is not None and trusted.is_trusted(self.address) else None
        self.peer, self.about_peer, _ = forwarding_of_client(self.address, self.secure)

    # ── bytes from the client ─────────────────────────────────────────────────────────────────

    def may_wait(self) -> bool:
        return self.exchange is None

    def handle(self, data: bytes) -> None:
        if TURN.is_handling and self.transport.is_closing():  # since it was read
            return
        try:
            if self.exchange is None:
                if self.buffer:
                    self.buffer += data
                    self.read_backlog()
                elif self.lingering is None:
                    self.read_head(data)
                elif self.lingering.drop(len(data)):
                    self.deadline = self.lingering.deadline(self.plane.now)
                else:
                    self.close()
            elif self.reader is not None:
                self.read_body(self.exchange, self.reader, data)
            else:
                self.keep(data)
        except Exception:
            log.exception("internal error: the connection is closed")
            self.give_up()

    def keep(self, data: bytes) -> None:
        """For later: the data belongs to requests behind the one under way."""
        self.buffer += data
        if len(self.buffer) > PIPELINE_LIMIT:
            self.pause(PIPELINE)

    def give_up(self) -> None:
        """After an internal error: answer the exchange under way with an error, and read no further request."""
        self.keep_alive = False
        if self.exchange is not None and not self.exchange.ended:
            self.exchange.on_upstream_failed(Stage.BUG)
        else:
            self.abort()

    def read_head(self, data: bytes) -> None:
        """Start the next request. The usual head comes in one piece."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > self.plane.head_bytes or data[0] == CR:
            self.buffer += data
            self.read_backlog()
            return
        try:
            self.start(self.parse(data[:end]), data[end:])
        except RequestRefused as refusal:
            self.refuse(refusal)

    def read_backlog(self) -> None:
        """Start the next request if the buffer has its head. Only what belongs to it is taken out."""
        raw = take_head(self.buffer, self.sought, self.plane.head_bytes)
        if not raw:
            self.wait_for_head()
            return
        self.sought = 0
        try:
            self.start(self.parse(raw), b"")
        except RequestRefused as refusal:
            self.refuse(refusal)
        self.set_paused(PIPELINE, len(self.buffer) > PIPELINE_LIMIT)

    def parse(self, raw: bytes) -> RequestHead:
        if self.knows is not self.plane.trusted:
            self.recognise()
        head = parse_request(raw, self.plane.head_count, self.last_head)
        if self.trusts is not None:
            named = forwarding_of_proxy(raw, self.address, self.secure, self.trusts)
            self.peer, self.about_peer, head.public_host = named
            head.fields += head.claims
        head.forwarded = self.about_peer
        self.forwarded_lines = self.origin.lines_for(self.about_peer, head)
        return head

    def wait_for_head(self) -> None:
        """Keep the beginning of a head in the buffer, unless it cannot become a valid one."""
        plane, size = self.plane, len(self.buffer)
        try:
            if size > plane.head_bytes or is_check_due(self.buffer, self.sought):
                check_beginning(bytes(self.buffer), plane.head_bytes, plane.head_count)
        except RequestRefused as refusal:
            self.refuse(refusal)
            return
        if self.half_closed:  # the client sends no more, so the head stays incomplete
            self.close()
            return
        self.resume(PIPELINE)
        is_begun = size > 0 and self.buffer[0] != CR  # an empty line is no request, and gives no more time
        if is_begun and not self.sought:
            self.deadline = plane.now + plane.snapshot.head_timeout
        self.sought = max(size - 3, 1) if is_begun else 0

    def start(self, head: RequestHead, rest: bytes) -> None:
        """Begin with the part of the body that has arrived, in `rest` or the buffer. Raises RequestRefused."""
        self.deadline = NEVER
        self.taking = None  # of the answer before
        self.keep_alive = head.keep_alive
        self.bodiless = head.start.bodiless
        plane = self.plane
        own_id = plane.new_id()
        self.exchange = exchange = Exchange(self, head, _CLOCK(), own_id)
        exchange.plane = plane
        if plane.tracer is not None:
            plane.tracer.begin(exchange, own_id)
        length = head.length
        if len(rest) == length:
            exchange.begin(rest, True)
            return
        reader = ChunkedReader(head.nominees) if length == CHUNKED else LengthReader(length)
        try:
            body = take_body(self.buffer, reader) if self.buffer else reader.feed(rest)
        except BrokenBody as error:
            raise RequestRefused(Stage.PARSE, "The request's chunks are not valid.") from error
        exchange.trailers = reader.trailers
        if reader.surplus:
            self.keep(reader.surplus)
        if not reader.done:
            if self.half_closed:  # half an upload is no request
                self.leave_unbegun(exchange)
                return
            self.reader = reader
            self.body_rate = plane.least_rate(plane.now, 0)
            self.wait_for_body()
        exchange.begin(body, reader.done)

    def leave_unbegun(self, exchange: Exchange) -> None:
        self.exchange = None
        exchange.abandon(FAILURES[Stage.CLIENT_LEFT])
        self.close()

    def wait_for_body(self) -> None:
        end, rate = self.plane.now + self.plane.keep_alive, self.body_rate
        self.deadline = end if rate is None or end < rate.end else rate.end

    def read_body(self, exchange: Exchange, reader: ChunkedReader | LengthReader, data: bytes) -> None:
        self.wait_for_body()
        try:
            body = reader.feed(data)
            if reader.done:
                exchange.trailers = reader.trailers
                self.reader = None
                self.keep(reader.surplus)
                self.deadline = NEVER
            if body or reader.done:
                exchange.on_request_body(body, reader.done)
                if exchange.inspection is not None and exchange.inspection.was_much_work():
                    self.yield_turn(self.plane.loop)
        except BrokenBody:
            self.refuse(RequestRefused(Stage.PARSE, "The request's chunks are not valid."))
        except RequestRefused as refusal:
            self.refuse(refusal)

    # ── end of an answer ──────────────────────────────────────────────────────────────────────

    def answer_continue(self) -> None:
        super().answer_continue()
        if self.reader is not None and self.exchange is not None:  # the client's time begins
            self.body_rate = self.plane.least_rate(self.plane.now, self.exchange.kept)
            self.wait_for_body()

    def cut(self) -> None:
        self.abort()

    def refuse(self, refusal: RequestRefused) -> None:
        """Answer with an error and end the exchange, if there is one. If an answer has begun, abort the connection."""
        exchange, self.exchange = self.exchange, None
        failure = refusal.failure
        if exchange is None:
            self.plane.recorder.refused(refusal.status, failure.stage)
        request_id = exchange.request_id if exchange is not None else self.plane.new_id()
        if exchange is None and self.plane.access_log is not None:
            self.plane.access_log.refusal(refusal, self.address, request_id)
        answered = exchange is not None and exchange.answer is not None
        in_step = exchange is not None and exchange.request_done and failure.source == "internal"
        if exchange is not None:
            exchange.abandon(failure, refusal.status)
            in_step = in_step and exchange.head.start.is_http11 and exchange.head.upgrade is None
        if answered:
            self.abort()
            return
        self.keep_alive = self.keep_alive and in_step
        self.answer_problem(refusal, request_id)
        if self.keep_alive:
            self.after_answer()
        else:
            self.linger()

    def on_end(self, exchange: Owner) -> None:
        if self.exchange is exchange and not self.tunnelled:
            self.after_answer()

    def is_idle(self) -> bool:
        return self.exchange is None and not self.waits

    def after_answer(self) -> None:
        """Read the next request, or close the connection."""
        self.exchange = None
        if not self.keep_alive or (self.half_closed and not self.buffer):
            if not self.transport.is_closing():
                self.close_gently()
            return
        self.bodiless = False
        self.problem_fields = b""
        self.deadline = self.plane.now + (DRAIN_IDLE if self.plane.hurrying else self.plane.keep_alive)
        if (self.buffer or self.paused or not self.writable) and not self.transport.is_closing():
            self.go_on()

    def go_on(self) -> None:
        """Read the next request when the client reads its answers. Otherwise answers would fill the write buffer."""
        self.set_paused(ANSWERS, not self.writable)
        self.resume(OF_EXCHANGE)
        if self.buffer and self.writable:
            self.plane.loop.call_soon(self.read_pipelined)

    def read_pipelined(self) -> None:
        if self.exchange is None and self.buffer and not self.lingering and not self.transport.is_closing():
            self.handle(b"")

    def close_gently(self) -> None:
        """Close at once if the client has no more data on the way, else linger."""
        if self.reader is None and not self.buffer:
            self.close()
        else:
            self.linger()

    def linger(self) -> None:
        self.lingering = Lingering(self.plane.now)
        self.reader = None
        self.buffer.clear()
        self.resume(ALL)
        self.deadline = self.lingering.deadline(self.plane.now)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        """Close after the rest of the answer is written. The deadline aborts a client that does not read it."""
        self.deadline = self.plane.now + self.plane.keep_alive
        self.transport.close()

    # ── flow control, deadlines and end of the connection ─────────────────────────────────────

    def pause_writing(self) -> None:
        self.writable = False
        self.taking = self.watch(self.plane.now)
        if self.exchange is not None:
            self.exchange.on_client_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        self.taking = None
        if self.exchange is not None:
            self.exchange.on_client_writable(True)
        else:
            self.go_on()

    def watch(self, now: float) -> Taking:
        taking = Taking(self.transport, now)
        taking.rate = self.plane.least_rate(now, taking.taken)
        return taking

    def eof_received(self) -> bool:
        """The client sends no more. Its complete requests are answered, if `half_close` finds it connected."""
        if self.waits:
            return self.caught_up().eof_received()
        if self.exchange is None and (not self.buffer or self.lingering):
            return False
        is_answered = self.exchange is not None and self.exchange.answer is not None
        if (self.reader is not None and not is_answered) or not half_close.probe(
            self, self.exchange, self.recode
        ):
            self.abort()
            return False
        self.half_closed = True
        self.reader = None  # the rest of the upload that is already answered never comes
        if self.exchange is None and self.writable:
            self.read_pipelined()
        half_close.watch_for_reset(self, self.plane.loop)
        return not self.transport.is_closing()

    def on_deadline(self) -> None:
        """The client sent nothing in time: answer 408 to an incomplete request, close an idle connection."""
        plane, closing, rate = self.plane, self.transport.is_closing(), self.body_rate
        incomplete = self.exchange is not None or (self.buffer and self.writable)
        may_read = not incomplete and (closing or not (self.lingering or plane.hurrying))  # its last answer
        wait = self.next_look(plane.now, plane.keep_alive) if may_read else 0.0
        if wait:
            self.deadline = plane.now + wait
        elif closing:
            self.abort()
        elif self.exchange is not None and (
            self.exchange.answer is not None or self.paused or expectation.is_unanswered(self.exchange)
        ):
            self.deadline = plane.now + plane.keep_alive  # the exchange has its own deadline
        elif self.exchange is not None and rate is not None and plane.now >= rate.end:
            if rate.is_kept(plane.now, self.exchange.kept, self.pauses):
                self.wait_for_body()
            else:
                self.refuse(RequestRefused(Stage.MIN_RATE))
        elif incomplete:
            self.refuse(RequestRefused(Stage.HEAD_TIMEOUT))
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waits:
            self.caught_up().connection_lost(exc)
            return
        self.plane.clients.discard(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.abandon(FAILURES[Stage.CLIENT_LEFT])
