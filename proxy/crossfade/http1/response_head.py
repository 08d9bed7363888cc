"""Response heads: bytes to values, one call for each message (RFC 9112 sections 4 to 7).

Rule (law 11): the result is a head, or ResponseRefused, never anything else. As of requests, an ambiguous message is
refused, never repaired. Only spelling that has one meaning is forgiven: space around a field's name and value.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

from crossfade.errors import ResponseRefused
from crossfade.http1.headers import (
    CANONICAL_LINES,
    CONNECTION_OPTIONS,
    DIGITS,
    HOP_BY_HOP,
    NOTHING,
    OWN_PREFIX,
    SPACED_LINES,
    TEXT,
    nominated,
    respell,
    stays_open,
    without,
)
from crossfade.http1.lines import CHUNKED, CONNECTION, DROP, FRAMING
from crossfade.http1.memory import remember

_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])( " + TEXT + rb"*+)?\r\n"
_RESPONSE = re.compile(_STATUS_LINE + CANONICAL_LINES + rb"\r\n")
_LOOSE_RESPONSE = re.compile(_STATUS_LINE + SPACED_LINES + rb"\r\n")
_DATE: Final = 20  # a kind beside those of request fields
_BODY_FRAMING = {b"content-length", b"transfer-encoding"}

_RESPONSE_FIELDS = dict.fromkeys(HOP_BY_HOP, DROP) | {
    b"content-length": FRAMING,
    b"transfer-encoding": FRAMING,
    b"connection": CONNECTION,
    b"date": _DATE,
    b"x-request-id": DROP,
}
UNTIL_CLOSE: Final = -2
_KEPT_HEADS = 1024
_KEPT_LENGTH = 512  # bytes; heads up to this length are cached
_RESPONSES: Final[dict[bytes, ResponseHead]] = {}


class ResponseHead:
    """A response head. `length` is in bytes; -1: chunked, -2: until the connection closes. `dated`: has a Date field.

    `reason` begins with the space that a status line has even without a reason (RFC 9112 section 4). `raw` is the
    head as received, if it is cached, else empty.
    """

    __slots__ = (
        "block",
        "dated",
        "keep_alive",
        "length",
        "nominees",
        "raw",
        "reason",
        "spelled",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, keep_alive: bool) -> None:
        self.status = status
        self.reason = reason
        self.keep_alive = keep_alive
        self.block = self.raw = b""
        self.spelled = (
            b""  # the head's first bytes for HTTP/1.1 clients that keep alive; filled by relay on first use
        )
        self.length = UNTIL_CLOSE
        self.dated = False
        self.upgrade: bytes | None = None
        self.nominees: AbstractSet[bytes] = NOTHING


def parse_response(raw: bytes, method: bytes) -> ResponseHead:
    """`raw` is the whole head of a response to a request with this method. Raises ResponseRefused.

    Models send few different heads, so short ones are cached, except for those of HEAD. Callers share the
    cached value and must not change it.
    """
    if method == b"HEAD":
        return _read_response(raw, True)
    head = _RESPONSES.get(raw)
    if head is None:
        head = _read_response(raw, False)
        remember(_RESPONSES, raw, head, _KEPT_HEADS, _KEPT_LENGTH)
        if len(raw) <= _KEPT_LENGTH:
            head.raw = raw
    return head


def check_response_head(raw: bytes) -> None:
    """Raises ResponseRefused if `raw`, a whole head, is not valid. Nothing is cached."""
    _read_response(raw, False)


def _read_response(raw: bytes, to_head: bool) -> ResponseHead:
    match = _RESPONSE.fullmatch(raw)
    if match is None or b" \r\n" in raw or b"\t\r\n" in raw:
        match = _LOOSE_RESPONSE.fullmatch(raw)
        if match is None:
            raise ResponseRefused("the response head does not match the HTTP/1.1 grammar")
        minor, code, reason, block = match.groups()
        block = respell(block)
    else:
        minor, code, reason, block = match.groups()
    status = int(code)
    head = ResponseHead(status, reason or b" ", minor == b"1")
    _read_response_fields(head, block.split(b"\r\n")[:-1], minor)
    if status < 200 or status == 204:  # no body and no Content-Length (RFC 9110 section 8.6)
        head.length = 0
        head.block = without(head.block, _BODY_FRAMING)
    elif status == 304 or to_head:
        head.length = 0
        head.block = unchunked(head)  # no body follows, and an HTTP/1.0 client knows no chunks
    return head


def unchunked(head: ResponseHead) -> bytes:
    """The field lines without Transfer-Encoding, for HTTP/1.0 clients."""
    return without(head.block, {b"transfer-encoding"})


def _length_of_response(name: bytes, value: bytes, minor: bytes) -> int:
    """The length that a framing field states; CHUNKED for Transfer-Encoding."""
    if name == b"content-length":
        if not DIGITS.fullmatch(value):
            raise ResponseRefused("Content-Length is not a decimal number")
        return int(value)
    if value.lower() != b"chunked" or minor != b"1":
        raise ResponseRefused("Transfer-Encoding is not chunked, or the version is HTTP/1.0")
    return CHUNKED


def _read_response_fields(head: ResponseHead, lines: list[bytes], minor: bytes) -> None:
    kept = []
    options: set[bytes] = set()
    framed = False
    for line in lines:
        name = line.partition(b":")[0].lower()
        kind = _RESPONSE_FIELDS.get(name)
        if kind is None:
            if name[:12] != OWN_PREFIX:
                kept.append(line)
            continue
        value = line[len(name) + 2 :]
        if kind == FRAMING:
            if framed:
                raise ResponseRefused("the response has more than one Content-Length or Transfer-Encoding")
            framed = True
            head.length = _length_of_response(name, value, minor)
            kept.append(line)  # `unchunked` removes a coding for HTTP/1.0 clients
        elif kind == CONNECTION:
            options |= nominated(value)
        elif kind == _DATE:
            head.dated = True
            kept.append(line)
        elif name == b"upgrade":
            head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value
    kept.append(b"")
    head.block = b"\r\n".join(kept)
    if options or head.upgrade is not None:
        _apply_connection(head, options)


def _apply_connection(head: ResponseHead, options: AbstractSet[bytes]) -> None:
    """Acts on all Connection options; fields that they name are removed (RFC 9110 section 7.6.1)."""
    head.keep_alive = stays_open(options, head.keep_alive)
    if b"upgrade" not in options:  # an Upgrade field that Connection does not name is for an earlier hop
        head.upgrade = None
    nominees = options - CONNECTION_OPTIONS
    if nominees:
        head.nominees = nominees
        head.block = without(head.block, nominees)
    head.dated = head.dated and b"date" not in options
