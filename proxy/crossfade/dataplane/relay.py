"""Writes parts of HTTP/1 heads from parsed ones (design 3.4)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

from crossfade.errors import RequestRefused
from crossfade.http1.lines import CHUNKED
from crossfade.http1.response_head import UNTIL_CLOSE, ResponseHead, unchunked

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTATION = b"Expect: 100-continue\r\n"
CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"


_FRAMINGS: Final[list[bytes]] = [b""] * 4096  # by the length of a body, of those that were asked for


def framing(length: int) -> bytes:
    """The end of a request's head; `length` is CHUNKED or the body's size in bytes."""
    if length == CHUNKED:
        return b"\r\n" + CHUNKED_LINE + b"\r\n"
    if length >= 4096:
        return b"\r\nContent-Length: %d\r\n\r\n" % length
    spelled = _FRAMINGS[length]
    if not spelled:
        _FRAMINGS[length] = spelled = b"\r\nContent-Length: %d\r\n\r\n" % length
    return spelled


def forwarded(beginning: bytes, host: bytes, public_host: bytes) -> bytes:
    """The lines that say where a request comes from, and the name of the last one, x-request-id."""
    return b'%b%b"\r\nX-Forwarded-Host: %b\r\nx-request-id: ' % (beginning, host, public_host)


def framing_fields(answer: ResponseHead, knows_chunks: bool, keep_alive: bool) -> bytes:
    """The hop-by-hop fields of an answer. HTTP/1.0 never gets chunks (RFC 9112 section 6.1)."""
    coding = CHUNKED_LINE if answer.length == UNTIL_CLOSE and knows_chunks else b""
    if not keep_alive:
        return coding + b"Connection: close\r\n"
    return coding if knows_chunks else b"Connection: keep-alive\r\n"


def beginning(answer: ResponseHead, knows_chunks: bool, keep_alive: bool) -> bytes:
    """The head of an answer, without the fields that the proxy adds."""
    block = answer.block if knows_chunks else unchunked(answer)
    framing = framing_fields(answer, knows_chunks, keep_alive)
    # A 426 must name a protocol (RFC 9110 section 15.5.22).
    if answer.status == 426 and answer.upgrade is not None:
        framing += hop_fields(answer.upgrade, False)
    return b"HTTP/1.1 %d%b\r\n%b%b" % (answer.status, answer.reason, block, framing)


def interim_head(answer: ResponseHead) -> bytes:
    return b"HTTP/1.1 %d%b\r\n%b\r\n" % (answer.status, answer.reason, answer.block)


def hop_fields(upgrade: bytes | None, takes_trailers: bool) -> bytes:
    """The hop-by-hop fields of a request to a backend (RFC 9110 sections 7.8 and 10.1.4)."""
    if upgrade is not None:  # without TE: some backends read only one option of Connection
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    return b"Connection: TE\r\nTE: trailers\r\n" if takes_trailers else b""


def switching_head(answer: ResponseHead, protocol: bytes, backend: bytes, request_id: bytes) -> bytes:
    """A 101; the client's connection becomes a tunnel. `backend` is the value of x-crossfade-backend."""
    fields = hop_fields(protocol, False)
    return b"HTTP/1.1 101%b\r\n%b%bx-request-id: %b\r\nx-crossfade-backend: %b\r\n\r\n" % (
        answer.reason, answer.block, fields, request_id, backend,
    )  # fmt: skip


def problem(refusal: RequestRefused, request_id: bytes, fields: bytes, close: bool, bodiless: bool) -> bytes:
    """The answer for an error of the proxy (RFC 9457). `fields` are lines, of Date and of the route. It shows nothing of the request and of the backends."""
    failure, status = refusal.failure, refusal.status
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": status, "detail": refusal.detail}
    )
    lines = [
        f"HTTP/1.1 {status} {title}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"x-crossfade-error: {failure.source}/{failure.stage}",
        f"x-request-id: {request_id.decode('ascii')}",
    ]
    if status in (429, 503):
        lines.append(f"Retry-After: {refusal.retry_after}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode("ascii") + b"\r\n%b\r\n" % fields
    return head if bodiless else head + body
