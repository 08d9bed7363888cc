"""Plain HTTP on a port with TLS: the client gets an answer that says so, where OpenSSL would end the connection without a word.

A GET or HEAD is redirected (308) to https on the same host and port. Any other request gets 400: its sender must learn that what
it sent was not encrypted. Event loops ask a context for the object that makes the handshake; this one looks at the first byte.
"""

from __future__ import annotations

import ssl
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.request_head import parse_request

HEAD_LIMIT = 8192  # bytes of a plain request's head; a longer one gets 400
DROP_LIMIT = 65_536  # bytes read and dropped behind the answer, so that the client receives it
HANDSHAKE_RECORD = 0x16  # RFC 8446 section 5.1: the first byte of a ClientHello
LETTERS = range(ord("A"), ord("Z") + 1)  # the first byte of a method


class Handshake(ssl.SSLObject):
    """The server's side of one connection. Its context sets both buffers."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    is_begun = False  # the first byte has been seen, and was not one of plain HTTP
    plain = b""  # what has come of a plain request
    is_answered = False

    def do_handshake(self) -> None:
        if not self.is_begun and self.incoming.pending:
            data = self.incoming.read()
            if self.plain or data[0] in LETTERS:
                self.take_plain(data)
                raise ssl.SSLWantReadError  # the event loop sends what is in `outgoing`, and waits
            self.is_begun = True
            self.incoming.write(data)
        super().do_handshake()

    def take_plain(self, data: bytes) -> None:
        """Raises SSLError where the client goes on and on."""
        self.plain += data
        if self.is_answered:
            if len(self.plain) > DROP_LIMIT:
                raise ssl.SSLError("plain HTTP on a port with TLS")
            return
        end = self.plain.find(b"\r\n\r\n") + 4
        if end >= 4 or len(self.plain) > HEAD_LIMIT:
            self.is_answered = True
            self.outgoing.write(answer_to(self.plain[:end] if end >= 4 else b""))


class HandshakeContext(ssl.SSLContext):
    """For servers."""

    sslobject_class = Handshake

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, Handshake):
            made.incoming, made.outgoing = incoming, outgoing
        return made


def answer_to(head: bytes) -> bytes:
    """To the head of a plain request; empty if it is too large."""
    try:
        request = parse_request(head)
        host, target = request.host, request.target
    except RequestRefused:
        return _refusal()
    if request.start.method not in (b"GET", b"HEAD") or not host or target[:1] != b"/":
        return _refusal()
    return _answer(HTTPStatus.PERMANENT_REDIRECT, b"Location: https://%b%b\r\n" % (host, target), b"")


def _refusal() -> bytes:
    status = HTTPStatus.BAD_REQUEST
    detail = "This port speaks TLS: use https. What was sent was not encrypted."
    body = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    error = f"x-crossfade-error: {RequestRefused(Stage.PARSE).failure.source}/{Stage.PARSE}\r\n"
    return _answer(
        status, b"Content-Type: application/problem+json\r\n" + error.encode(), msgspec.json.encode(body)
    )


def _answer(status: HTTPStatus, fields: bytes, body: bytes) -> bytes:
    date = formatdate(usegmt=True).encode()
    return b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nDate: %b\r\nConnection: close\r\n\r\n%b" % (
        status, status.phrase.encode(), fields, len(body), date, body,
    )  # fmt: skip
