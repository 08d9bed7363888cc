"""Writes the answers of a client's connection: heads, bodies, and the framing of both.

Rule: the connection stays open behind an answer only if the whole request was read, the client knows where the answer
ends, and the worker does not drain.
"""

from __future__ import annotations

from typing import Final

from crossfade.dataplane import relay
from crossfade.dataplane.client import Client
from crossfade.dataplane.exchange import Exchange
from crossfade.dataplane.plane import Plane
from crossfade.errors import RequestRefused
from crossfade.http1.framing import ChunkedReader, LengthReader, chunks
from crossfade.http1.response_head import ResponseHead

LARGE: Final = 16_384  # bytes of a body that are not copied to stand behind a head


class ResponseWriter(Client):
    plane: Plane
    exchange: Exchange | None
    reader: ChunkedReader | LengthReader | None  # of a body that is not complete
    keep_alive: bool
    bodiless: bool  # the request is a HEAD
    recode: bool  # whether the proxy frames the answer in its own chunks
    tunnelled: bool

    def answer_continue(self) -> None:
        self.transport.write(relay.CONTINUE)

    def answer_interim(self, head: ResponseHead) -> None:
        if self.exchange is not None and self.exchange.head.start.is_http11:
            self.transport.write(relay.interim_head(head))

    def answer(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """Write the head and the part of the body that has arrived.

        Equal answers share one parsed head, so the serialized start of the head is cached there.
        """
        exchange = self.exchange
        assert exchange is not None
        knows_chunks = exchange.head.start.is_http11
        recode = False
        if head.length < 0:
            recode = knows_chunks
            if not knows_chunks:
                self.keep_alive = False
        if self.reader is not None or self.plane.draining:
            self.keep_alive = False
        if self.keep_alive and knows_chunks:
            start = head.spelled
            if not start:
                head.spelled = start = relay.beginning(head, True, True)
        else:
            start = relay.beginning(head, knows_chunks, self.keep_alive)
        self.recode = recode
        if recode:
            body = chunks(body, done)
        names = exchange.backend_fields() if exchange.has_more_fields else exchange.answering.name
        date = b"" if head.dated else self.plane.date
        if len(body) >= LARGE:
            first = b"%b%bx-request-id: %b\r\nx-crossfade-backend: %b\r\n\r\n" % (
                start, date, exchange.request_id, names,
            )  # fmt: skip
            self.transport.writelines([first, body])
            return
        self.transport.write(
            b"%b%bx-request-id: %b\r\nx-crossfade-backend: %b\r\n\r\n%b"
            % (start, date, exchange.request_id, names, body)
        )

    def answer_body(self, data: bytes, done: bool, framed: bytes) -> None:
        if self.recode:
            data = framed or chunks(data, done)
        if data:
            self.transport.write(data)

    def answer_trailers(self, trailers: bytes) -> None:
        if self.recode:
            self.transport.write(chunks(b"", True, trailers))

    def answer_problem(self, refusal: RequestRefused, request_id: bytes) -> None:
        if self.reader is not None or self.plane.draining:
            self.keep_alive = False
        if self.exchange is not None and not self.exchange.head.start.is_http11:
            self.keep_alive = False  # an HTTP/1.0 client may read until the connection closes
        self.transport.write(
            relay.problem(
                refusal,
                request_id,
                self.plane.date + self.problem_fields,
                not self.keep_alive,
                self.bodiless,
            )
        )

    def answer_own(self, head: ResponseHead, body: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        if self.reader is not None or self.plane.draining:
            self.keep_alive = False
        start = relay.beginning(head, exchange.head.start.is_http11, self.keep_alive)
        self.transport.write(
            b"%b%bx-request-id: %b\r\n\r\n%b"
            % (start, self.plane.date, exchange.request_id, b"" if self.bodiless else body)
        )

    def expect_no_other_request(self) -> None:
        self.keep_alive = False

    def become_tunnel(self, head: ResponseHead, protocol: bytes) -> bytes:
        exchange = self.exchange
        assert exchange is not None
        self.tunnelled = True  # `self.exchange` stays set, so that a drain waits for this client
        return relay.switching_head(head, protocol, exchange.backend_fields(), exchange.request_id)
