"""Heads: bytes to values, one call for each message (RFC 9112 sections 2 to 7).

Rule (law 11): the result is a head, or RequestRefused / ResponseRefused, never anything else. An
ambiguous message is refused, never repaired: two lengths, a length and a coding, a coding other than
`chunked`, a fold, a bare CR or LF, space before a colon, a second Host. Numbers and names are matched as
ASCII bytes, since int() and lower() of Python text accept digits and letters that HTTP does not.

An httptools parser followed by our filters took 2.9 µs for a head of eight fields. Cached lines take less
than half of that (see `lines`), so the parser is our own, and as strict as we need.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any, Final

from crossfade.errors import RequestRefused, ResponseRefused, Stage
from crossfade.http1.headers import (
    CANONICAL_LINES,
    DIGITS,
    HOP_BY_HOP,
    NOTHING,
    OWN_PREFIX,
    SPACED_LINES,
    TEXT,
    nominated,
    respell,
    without,
)
from crossfade.http1.lines import (
    BAD_HOST,
    CHUNKED,
    CONNECTION,
    DROP,
    EXPECT,
    FIELDS,
    FRAMING,
    HOSTNAME,
    ID,
    OVERRIDE,
    PASS,
    STARTS,
    TE,
    TRACE,
    UNSUPPORTED_CODING,
    UPGRADE,
    Start,
    read_field,
    read_start,
)
from crossfade.http1.memory import remember

__all__ = [
    "CHUNKED",
    "UNTIL_CLOSE",
    "RequestHead",
    "ResponseHead",
    "check_response_head",
    "parse_request",
    "parse_response",
]

_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])( " + TEXT + rb"*+)?\r\n"
_RESPONSE = re.compile(_STATUS_LINE + CANONICAL_LINES + rb"\r\n")
_LOOSE_RESPONSE = re.compile(_STATUS_LINE + SPACED_LINES + rb"\r\n")
_BODY_FRAMING = {b"content-length", b"transfer-encoding"}
_KEEP_ALIVE: Final = frozenset({b"keep-alive"})
_CONNECTION_OPTIONS = _KEEP_ALIVE | {b"close", b"upgrade"}

_RESPONSE_FIELDS = dict.fromkeys(HOP_BY_HOP, DROP) | {
    b"content-length": FRAMING,
    b"transfer-encoding": FRAMING,
    b"connection": CONNECTION,
    b"x-request-id": DROP,
}


class RequestHead:
    """A request head.

    `block` holds the field lines for the backend. `lower` is its lower-cased copy, made on first use.
    `length` is the body's size in bytes (0: none, -1: chunked). `keep_alive` is the client's wish.
    `upgrade` is the Upgrade field's value if the Connection field names it. `nominees` are the other
    fields that the Connection field names; they are not forwarded.
    """

    start: Start
    host: bytes | None
    block: bytes
    lower: bytes
    length: int
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    takes_trailers: bool
    nominees: AbstractSet[bytes]
    request_id: bytes | None
    traced: bool
    override: bytes | None  # the override token, not verified (see routing.override)
    public_host: bytes | None  # the client's host, if a trusted proxy names one
    __slots__ = tuple(__annotations__)

    def __init__(self, start: Start) -> None:
        self.start = start
        self.keep_alive = start.is_http11
        self.host = self.upgrade = self.request_id = self.override = self.public_host = None
        self.block = self.lower = b""
        self.length = 0
        self.expects_continue = self.takes_trailers = self.traced = False
        self.nominees = NOTHING

    @property
    def method(self) -> bytes:
        return self.start.method

    @property
    def target(self) -> bytes:
        return self.start.target

    @property
    def path(self) -> bytes:
        return self.start.path

    @property
    def query(self) -> bytes:
        return self.start.query

    @property
    def minor(self) -> bytes:
        return self.start.minor

    def field(self, name: bytes) -> bytes | None:
        """The value of the first field of this lower-cased name in `block`."""
        return self.find(line_of(name))

    def find(self, beginning: bytes) -> bytes | None:
        """As `field`; `beginning` is `line_of(name)`, made once by the caller."""
        lower = self.lower
        if not lower:
            self.lower = lower = b"\r\n" + self.block.lower()
        at = lower.find(beginning)
        if at < 0:
            return None
        block = self.block
        at += len(beginning) - 2  # `lower` begins with a CRLF that `block` has not
        return block[at : block.index(b"\r\n", at)]

    def find_list(self, beginning: bytes, separator: bytes) -> bytes | None:
        """The values of all fields of this name as one list (RFC 9110 section 5.3): a proxy before this one may have joined them."""
        first = self.find(beginning)
        if first is None:
            return None
        lower, block, values = self.lower, self.block, first
        at = lower.find(beginning, lower.index(beginning) + len(beginning) + len(first))
        while at >= 0:
            at += len(beginning) - 2
            end = block.index(b"\r\n", at)
            values += separator + block[at:end]
            at = lower.find(beginning, end)
        return values


def line_of(name: bytes) -> bytes:
    """The beginning of a line with this lower-cased name in `RequestHead.lower`."""
    return b"\r\n%b: " % name


class ResponseHead:
    """A response head. `length` is in bytes; -1: chunked, -2: until the connection closes.

    `reason` begins with the space that a status line has even without a reason (RFC 9112 section 4).
    """

    __slots__ = ("block", "keep_alive", "length", "nominees", "reason", "spelled", "status", "upgrade")

    def __init__(self, status: int, reason: bytes, keep_alive: bool) -> None:
        self.status = status
        self.reason = reason
        self.keep_alive = keep_alive
        self.block = b""
        self.spelled = (
            b""  # the head's first bytes for HTTP/1.1 clients that keep alive; filled by relay on first use
        )
        self.length = UNTIL_CLOSE
        self.upgrade: bytes | None = None
        self.nominees: AbstractSet[bytes] = NOTHING


UNTIL_CLOSE: Final = -2
_KEPT_HEADS = 1024
_KEPT_LENGTH = 512  # bytes; heads up to this length are cached
_RESPONSES: Final[dict[bytes, ResponseHead]] = {}


def parse_request(raw: bytes, max_fields: int = 100, complete: bool = True) -> RequestHead:  # noqa: C901 - one flat loop, the hot one
    """`raw` is a whole head, from the request line to the empty line; if not `complete`, further fields may follow.

    Raises RequestRefused (400, 417, 431, 501, 505).
    """
    if raw[-4:] != b"\r\n\r\n":
        raise RequestRefused(Stage.PARSE)
    lines = raw.split(b"\r\n")
    if len(lines) > max_fields + 3:  # the request line, and two empty elements after the last field
        raise RequestRefused(Stage.LIMIT, f"The request has more than {max_fields} header fields.", 431)
    start = STARTS.get(lines[0]) or read_start(lines[0])
    head = RequestHead(start)
    known = FIELDS.get
    kept = []
    host = options = length = None
    for line in lines[1:-2]:
        kind, value = known(line) or read_field(line)
        if kind == PASS:
            kept.append(value)
        elif kind == HOSTNAME:
            if host is not None:
                raise RequestRefused(Stage.PARSE, BAD_HOST)
            host = value
        elif kind == FRAMING:
            if length is not None:
                raise RequestRefused(
                    Stage.PARSE, "The request has more than one Content-Length or Transfer-Encoding."
                )
            head.length = length = value
        elif kind == CONNECTION:
            options = value if options is None else options | value
        elif kind != DROP:
            _read_rare_field(head, kind, value, kept)
    if host is None and start.is_http11 and complete:
        raise RequestRefused(Stage.PARSE, "The Host field is missing.")
    head.host = start.authority or host  # RFC 9112 section 3.2.2: Host is ignored then
    kept.append(b"")
    head.block = b"\r\n".join(kept)
    if length == CHUNKED and not start.is_http11:
        raise RequestRefused(Stage.PARSE, UNSUPPORTED_CODING)
    if (options and options != _KEEP_ALIVE) or head.upgrade is not None or not start.is_http11:
        _apply_connection(head, options or NOTHING)
    return head


def _read_rare_field(head: RequestHead, kind: int, value: Any, kept: list[bytes]) -> None:
    if kind == TRACE:
        head.traced = True
        kept.append(value)
    elif kind == EXPECT:
        head.expects_continue = head.start.is_http11
    elif kind == ID:
        head.request_id = value
    elif kind == OVERRIDE:
        head.override = value if head.override is None else head.override + b"," + value
    elif kind == TE:
        head.takes_trailers = head.takes_trailers or value
    elif kind == UPGRADE:
        head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value


def _apply_connection(head: RequestHead | ResponseHead, options: AbstractSet[bytes]) -> None:
    """Acts on all Connection options. `close` wins; fields that they name are removed (RFC 9110 section 7.6.1)."""
    head.keep_alive = b"close" not in options and (head.keep_alive or b"keep-alive" in options)
    if b"upgrade" not in options:  # an Upgrade field that Connection does not name is for an earlier hop
        head.upgrade = None
    nominees = options - _CONNECTION_OPTIONS
    if nominees:
        head.nominees = nominees
        head.block = without(head.block, nominees)


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
            if name == b"content-length":
                if not DIGITS.fullmatch(value):
                    raise ResponseRefused("Content-Length is not a decimal number")
                head.length = int(value)
                kept.append(line)
            elif value.lower() == b"chunked" and minor == b"1":
                head.length = CHUNKED
                kept.append(line)  # `unchunked` removes it for HTTP/1.0 clients
            else:
                raise ResponseRefused("Transfer-Encoding is not chunked, or the version is HTTP/1.0")
        elif kind == CONNECTION:
            options |= nominated(value)
        elif name == b"upgrade":
            head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value
    kept.append(b"")
    head.block = b"\r\n".join(kept)
    if options or head.upgrade is not None:
        _apply_connection(head, options)
