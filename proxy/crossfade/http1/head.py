"""Heads: bytes to values, one call for each message (RFC 9112 sections 2 to 7).

Rule (law 11): a head, or RequestRefused / ResponseRefused, never anything else. What is doubtful is
refused, never repaired: two lengths, a length and a coding, a coding other than `chunked`, a fold,
a bare CR or LF, space before a colon, a second Host. Numbers and names are read as ASCII bytes;
Python's int() and lower() know digits and letters that HTTP does not.

An httptools parser with our filters behind it took 2.9 µs for a head of eight fields, lines known by
their bytes take less than half of that (see `lines`); so the grammar is ours, and as strict as we want it.
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
    LOOSE_LINES,
    NOTHING,
    OWN_PREFIX,
    TEXT,
    nominated,
    respell,
    without,
)
from crossfade.http1.lines import (
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
    UPGRADE,
    Start,
    read_field,
    read_start,
)
from crossfade.http1.memory import remember

__all__ = ["CHUNKED", "UNTIL_CLOSE", "RequestHead", "ResponseHead", "parse_request", "parse_response"]

_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])( " + TEXT + rb"*+)?\r\n"
_RESPONSE = re.compile(_STATUS_LINE + CANONICAL_LINES + rb"\r\n")
_LOOSE_RESPONSE = re.compile(_STATUS_LINE + LOOSE_LINES + rb"\r\n")
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
    """A request as far as a proxy needs to know it.

    `block` holds the field lines that go on to the backend, `length` the body's size in bytes (0:
    none, -1: chunked). `keep_alive` is what the client asked for, `upgrade` what its Upgrade field
    names if Connection does too, `nominees` are the other fields that end here.
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
    override: bytes | None  # a tester's token (routing.override), as it came
    public_host: bytes | None  # what the client asked for, if a trusted proxy says that it was another
    __slots__ = tuple(__annotations__)

    def __init__(self, start: Start) -> None:
        self.start = start
        self.keep_alive = start.modern
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
        """The first field of this lower-cased name, among those that go on to the backend."""
        return self.find(line_of(name))

    def find(self, beginning: bytes) -> bytes | None:
        """As `field`; `beginning` is what `line_of` gives, so that it need not be made each time."""
        lower = self.lower
        if not lower:
            self.lower = lower = b"\r\n" + self.block.lower()
        at = lower.find(beginning)
        if at < 0:
            return None
        block = self.block
        at += len(beginning) - 2  # `lower` is ahead of `block` by the CRLF that begins it
        return block[at : block.index(b"\r\n", at)]


def line_of(name: bytes) -> bytes:
    """How a line with a field of this lower-cased name begins in `RequestHead.lower`."""
    return b"\r\n%b: " % name


class ResponseHead:
    """An answer's head. `length` in bytes; -1: chunked, -2: until the connection closes.

    `reason` begins with the space that a status line has even without one (RFC 9112 section 4).
    """

    __slots__ = ("block", "keep_alive", "length", "nominees", "reason", "spelled", "status", "upgrade")

    def __init__(self, status: int, reason: bytes, keep_alive: bool) -> None:
        self.status = status
        self.reason = reason
        self.keep_alive = keep_alive
        self.block = b""
        self.spelled = b""  # its beginning as most clients get it, once one has
        self.length = UNTIL_CLOSE
        self.upgrade: bytes | None = None
        self.nominees: AbstractSet[bytes] = NOTHING


UNTIL_CLOSE: Final = -2
_KEPT_HEADS = 1024
_KEPT_LENGTH = 512  # bytes; answers' heads up to this length are remembered whole
_RESPONSES: Final[dict[bytes, ResponseHead]] = {}


def parse_request(raw: bytes, max_fields: int = 100) -> RequestHead:  # noqa: C901 - one flat loop, the hot one
    """A whole head, from the request line to the empty line. Raises RequestRefused (400, 417, 431, 501, 505).

    The client's fields are sorted into those that concern us and those that pass through.
    """
    if raw[-4:] != b"\r\n\r\n":
        raise RequestRefused(Stage.PARSE)
    lines = raw.split(b"\r\n")
    if len(lines) > max_fields + 3:  # the request line, and the empty line with the nothing behind it
        raise RequestRefused(Stage.LIMIT, "Too many header fields.", 431)
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
                raise RequestRefused(Stage.PARSE, "The Host field is not valid, or not the only one.")
            host = value
        elif kind == FRAMING:
            if length is not None:
                raise RequestRefused(Stage.PARSE, "More than one field frames the body.")
            head.length = length = value
        elif kind == CONNECTION:
            options = value if options is None else options | value
        elif kind != DROP:
            _read_rare_field(head, kind, value, kept)
    if host is None and start.modern:
        raise RequestRefused(Stage.PARSE, "A Host field is missing.")
    head.host = start.authority or host  # an absolute target's authority wins (RFC 9112 section 3.2.2)
    kept.append(b"")
    head.block = b"\r\n".join(kept)
    if length == CHUNKED and not start.modern:
        raise RequestRefused(Stage.PARSE, "This Transfer-Encoding is not accepted.")
    if (options and options != _KEEP_ALIVE) or head.upgrade is not None or not start.modern:
        _apply_connection(head, options or NOTHING)
    return head


def _read_rare_field(head: RequestHead, kind: int, value: Any, kept: list[bytes]) -> None:
    if kind == TRACE:
        head.traced = True
        kept.append(value)
    elif kind == EXPECT:
        head.expects_continue = head.start.modern
    elif kind == ID:
        head.request_id = value
    elif kind == OVERRIDE:
        head.override = value if head.override is None else head.override + b"," + value
    elif kind == TE:
        head.takes_trailers = head.takes_trailers or value
    elif kind == UPGRADE:
        head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value


def _apply_connection(head: RequestHead | ResponseHead, options: AbstractSet[bytes]) -> None:
    """All Connection fields together: `close` wins; what they nominate ends here (RFC 9110 section 7.6.1)."""
    head.keep_alive = b"close" not in options and (head.keep_alive or b"keep-alive" in options)
    if b"upgrade" not in options:  # an Upgrade field that nobody nominated was meant for an earlier hop
        head.upgrade = None
    nominees = options - _CONNECTION_OPTIONS
    if nominees:
        head.nominees = nominees
        head.block = without(head.block, nominees)


def parse_response(raw: bytes, method: bytes) -> ResponseHead:
    """A whole head of an answer to a request with this method. Raises ResponseRefused.

    Models answer with few different heads in a second, so short ones are remembered, except for
    those to HEAD: callers share the value and must not change it.
    """
    if method == b"HEAD":
        return _read_response(raw, True)
    head = _RESPONSES.get(raw)
    if head is None:
        head = _read_response(raw, False)
        remember(_RESPONSES, raw, head, _KEPT_HEADS, _KEPT_LENGTH)
    return head


def _read_response(raw: bytes, to_head: bool) -> ResponseHead:
    match = _RESPONSE.fullmatch(raw)
    if match is None or b" \r\n" in raw or b"\t\r\n" in raw:
        match = _LOOSE_RESPONSE.fullmatch(raw)
        if match is None:
            raise ResponseRefused("the head does not match the grammar")
        minor, code, reason, block = match.groups()
        block = respell(block)
    else:
        minor, code, reason, block = match.groups()
    status = int(code)
    head = ResponseHead(status, reason or b" ", minor == b"1")
    _read_response_fields(head, block.split(b"\r\n")[:-1], minor)
    if status < 200 or status == 204:  # never a body, nor the length of one (RFC 9110 section 8.6)
        head.length = 0
        head.block = without(head.block, _BODY_FRAMING)
    elif status == 304 or to_head:
        head.length = 0
        head.block = unchunked(head)  # who asked may know no chunks, and none will come
    return head


def unchunked(head: ResponseHead) -> bytes:
    """The field lines for a client that knows no chunks."""
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
                raise ResponseRefused("more than one field frames the body")
            framed = True
            if name == b"content-length":
                if not DIGITS.fullmatch(value):
                    raise ResponseRefused("Content-Length is not a number")
                head.length = int(value)
                kept.append(line)
            elif value.lower() == b"chunked" and minor == b"1":
                head.length = CHUNKED
                kept.append(line)  # in its place; `unchunked` takes it out for clients that know no chunks
            else:
                raise ResponseRefused("unknown Transfer-Encoding")
        elif kind == CONNECTION:
            options |= nominated(value)
        elif name == b"upgrade":
            head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value
    kept.append(b"")
    head.block = b"\r\n".join(kept)
    if options or head.upgrade is not None:
        _apply_connection(head, options)
