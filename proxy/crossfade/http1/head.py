"""Heads: bytes to values, one call for each message (RFC 9112 sections 2 to 7).

Rule (law 11): the result is a head, or RequestRefused / ResponseRefused, never anything else. An
ambiguous message is refused, never repaired: two lengths, a length and a coding, a coding other than
`chunked`, a fold, a bare CR or LF, space before a colon, a second Host. Numbers and names are matched as
ASCII bytes, since int() and lower() of Python text accept digits and letters that HTTP does not.

An httptools parser followed by our filters took 2.9 µs for a head of eight fields. Cached lines take less
than half of that (see `lines`), so the parser is our own, and as strict as we need. A connection's requests
mostly have the same lines: comparing a line with that of the last request is cheaper than a cache look-up.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

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
    CLAIM,
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
    Field,
    Start,
    read_field,
    read_start,
)
from crossfade.http1.memory import remember

__all__ = [
    "CHUNKED",
    "UNTIL_CLOSE",
    "LastHead",
    "RequestHead",
    "ResponseHead",
    "check_response_head",
    "parse_request",
    "parse_response",
]

_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])( " + TEXT + rb"*+)?\r\n"
_RESPONSE = re.compile(_STATUS_LINE + CANONICAL_LINES + rb"\r\n")
_LOOSE_RESPONSE = re.compile(_STATUS_LINE + SPACED_LINES + rb"\r\n")
DATE: Final = 20  # a kind beside those of request fields
_BODY_FRAMING = {b"content-length", b"transfer-encoding"}
_KEEP_ALIVE: Final = frozenset({b"keep-alive"})
_CONNECTION_OPTIONS = _KEEP_ALIVE | {b"close", b"upgrade"}

_RESPONSE_FIELDS = dict.fromkeys(HOP_BY_HOP, DROP) | {
    b"content-length": FRAMING,
    b"transfer-encoding": FRAMING,
    b"connection": CONNECTION,
    b"date": DATE,
    b"x-request-id": DROP,
}


class RequestHead:
    """A request head.

    `fields` are those for the backend. `length` is the body's size in bytes (0: none, -1: chunked). `keep_alive` is the client's wish.
    `upgrade` is the Upgrade field's value if the Connection field names it. `nominees` are the other
    fields that the Connection field names; they are not forwarded.
    """

    start: Start
    host: bytes | None
    fields: list[Field]
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
    claims: tuple[Field, ...]  # those that only a trusted proxy may send (`lines.only_from_trusted`)
    __slots__ = tuple(__annotations__)

    def __init__(self, start: Start) -> None:
        self.start = start
        self.keep_alive = start.is_http11
        self.host = self.upgrade = self.request_id = self.override = self.public_host = None
        self.fields = []
        self.length = 0
        self.expects_continue = self.takes_trailers = self.traced = False
        self.nominees = NOTHING
        self.claims = ()

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

    @property
    def block(self) -> bytes:
        """The field lines for the backend."""
        return b"".join([field.line for field in self.fields])

    def field(self, name: bytes) -> bytes | None:
        """The value of the first of `fields` with this lower-cased name."""
        for field in self.fields:
            if field.name == name:
                return field.value
        return None

    def has_several(self, name: bytes) -> bool:
        """Whether more than one of `fields` has this lower-cased name."""
        return len([field for field in self.fields if field.name == name]) > 1

    def find_list(self, name: bytes, separator: bytes) -> bytes | None:
        """The values of all fields of this name as one list (RFC 9110 section 5.3): a proxy before this one may have joined them."""
        found: bytes | None = None
        for field in self.fields:
            if field.name == name:
                found = field.value if found is None else found + separator + field.value
        return found


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


UNTIL_CLOSE: Final = -2
_KEPT_HEADS = 1024
_KEPT_LENGTH = 512  # bytes; heads up to this length are cached
_RESPONSES: Final[dict[bytes, ResponseHead]] = {}


class LastHead:
    """The lines of a connection's last request, for comparison with those of the next: most are the same."""

    __slots__ = ("fields", "start")

    def __init__(self) -> None:
        self.start: Start | None = None
        self.fields: list[Field] = []

    def clear(self) -> None:
        self.start = None
        self.fields.clear()


_COMPARED_BYTES: Final = 4096  # of a head; the lines of a longer one are not kept for comparison


def parse_request(
    raw: bytes, max_fields: int = 100, last: LastHead | None = None, complete: bool = True
) -> RequestHead:
    """`raw` is a whole head, from the request line to the empty line; if not `complete`, further fields may follow.

    `last` is the connection's last head, and this one afterwards. It holds credentials as long as the connection
    lives (docs/threat-model.md), and no other connection sees it. Raises RequestRefused (400, 417, 431, 501, 505).
    """
    if raw[-4:] != b"\r\n\r\n":
        raise RequestRefused(Stage.PARSE)
    if last is None:
        last = LastHead()
    elif len(raw) > _COMPARED_BYTES:
        last.clear()
        last = LastHead()
    start = last.start
    if start is None or not raw.startswith(start.raw):
        line = raw[: raw.find(b"\r\n")]
        cached = STARTS.get(line)
        last.start = start = read_start(line) if cached is None else cached
    _read_fields(raw, len(start.raw), last.fields, max_fields)
    return _request_of(start, last.fields, complete)


def _read_fields(raw: bytes, position: int, last: list[Field], max_fields: int) -> None:
    """Replace the fields in `last` by those that begin at `position`. A line like the one before is compared, not read."""
    known = len(last)
    n = 0
    end = len(raw) - 2  # of the last field; the empty line follows
    while position < end:
        if n < known:
            field = last[n]
            size = len(field.raw)
            if raw[position : position + size] == field.raw:
                position += size
                n += 1
                continue
        elif n >= max_fields:
            detail = f"The request has more than {max_fields} header fields."
            raise RequestRefused(Stage.LIMIT, detail, 431)
        after = raw.find(b"\r\n", position)
        line = raw[position:after]
        cached = FIELDS.get(line)
        field = read_field(line) if cached is None else cached
        if n < known:
            last[n] = field
        else:
            last.append(field)
        position = after + 2
        n += 1
    if n < known:
        del last[n:]


def _request_of(start: Start, fields: list[Field], complete: bool) -> RequestHead:  # noqa: C901 - one flat loop, the hot one
    head = RequestHead(start)
    kept = head.fields
    host: bytes | None = None
    options: AbstractSet[bytes] | None = None
    framed = False
    for field in fields:
        kind = field.kind
        if kind == PASS:
            kept.append(field)
        elif kind == HOSTNAME:
            if host is not None:
                raise RequestRefused(Stage.PARSE, BAD_HOST)
            host = field.value
        elif kind == FRAMING:
            if framed:
                raise RequestRefused(
                    Stage.PARSE, "The request has more than one Content-Length or Transfer-Encoding."
                )
            framed = True
            head.length = field.said
        elif kind == CONNECTION:
            options = field.said if options is None else options | field.said
        elif kind != DROP:
            _read_rare_field(head, field)
    if host is None and start.is_http11 and complete:
        raise RequestRefused(Stage.PARSE, "The Host field is missing.")
    head.host = start.authority or host  # RFC 9112 section 3.2.2: Host is ignored then
    if start.is_http11:
        if options is None and head.upgrade is None:
            return head
    elif head.length == CHUNKED:
        raise RequestRefused(Stage.PARSE, UNSUPPORTED_CODING)
    if (options and options != _KEEP_ALIVE) or head.upgrade is not None or not start.is_http11:
        _apply_connection(head, options or NOTHING)
    return head


def _read_rare_field(head: RequestHead, field: Field) -> None:
    kind, value = field.kind, field.said
    if kind == TRACE:
        head.traced = True
        head.fields.append(field)
    elif kind == EXPECT:
        head.expects_continue = head.start.is_http11
    elif kind == ID:
        head.request_id = value
    elif kind == OVERRIDE:
        head.override = value if head.override is None else head.override + b"," + value
    elif kind == TE:
        head.takes_trailers = head.takes_trailers or value
    elif kind == CLAIM:
        head.claims = (*head.claims, field)
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
        if isinstance(head, RequestHead):
            head.fields = [field for field in head.fields if field.name not in nominees]
        else:
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
        elif kind == DATE:
            head.dated = True
            kept.append(line)
        elif name == b"upgrade":
            head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value
    kept.append(b"")
    head.block = b"\r\n".join(kept)
    if options or head.upgrade is not None:
        _apply_connection(head, options)
        head.dated = head.dated and b"date" not in options
