"""Request heads: bytes to values, one call for each message (RFC 9112 sections 2 to 7).

Rule (law 11): the result is a head, or RequestRefused, never anything else. An
ambiguous message is refused, never repaired: two lengths, a length and a coding, a coding other than
`chunked`, a fold, a bare CR or LF, space before a colon, a second Host. Numbers and names are matched as
ASCII bytes, since int() and lower() of Python text accept digits and letters that HTTP does not.

An httptools parser followed by our filters took 2.9 µs for a head of eight fields. Cached lines take less
than half of that (see `lines`), so the parser is our own, and as strict as we need. A connection's requests
mostly have the same lines: comparing a line with that of the last request is cheaper than a cache look-up.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.headers import CONNECTION_OPTIONS, KEEP_ALIVE, NOTHING, stays_open
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
    forwarded: bytes  # what backends are told of the client, without its host; X-Forwarded-Proto is the client's scheme
    claims: tuple[Field, ...]  # those that only a trusted proxy may send (`lines.only_from_trusted`)
    known_block: bytes  # `block`, once it was asked for
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
        self.known_block = self.forwarded = b""

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
        """The field lines for the backend. `fields` is complete then."""
        block = self.known_block
        if not block:
            self.known_block = block = b"".join([field.line for field in self.fields])
        return block

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


class LastHead:
    """The lines of a connection's last request, for comparison with those of the next: most are the same.

    `place`: the line in which the last requests differed alone, by its number; -1: not known. Once it is known, `usual` is
    one of these requests, `before` and `after` are its bytes on both sides of that line without its CRLF, and `block_before`
    and `block_after` are what of them goes to the backend.
    """

    __slots__ = (
        "after",
        "before",
        "block_after",
        "block_before",
        "fields",
        "kept_place",
        "place",
        "start",
        "usual",
    )

    def __init__(self) -> None:
        self.start: Start | None = None
        self.fields: list[Field] = []
        self.usual: RequestHead | None = None
        self.before = self.after = self.block_before = self.block_after = b""
        self.place = -1
        self.kept_place = 0  # its place in `RequestHead.fields`

    def clear(self) -> None:
        self.start = None
        self.fields.clear()
        self.usual = None
        self.before = self.after = self.block_before = self.block_after = b""
        self.place = -1


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
    elif len(last.fields) > max_fields:  # a lower limit than before
        last.clear()
    elif last.usual is not None:
        head = _like_usual(raw, last, last.usual)
        if head is not None:
            return head
        last.usual = None
    start = last.start
    if start is None or not raw.startswith(start.raw):
        line = raw[: raw.find(b"\r\n")]
        cached = STARTS.get(line)
        last.start = start = read_start(line) if cached is None else cached
        _read_fields(raw, len(start.raw), last.fields, max_fields)
        return _request_of(start, last.fields, complete)
    differing = _read_fields(raw, len(start.raw), last.fields, max_fields)
    head = _request_of(start, last.fields, complete)
    if differing >= 0 and differing != last.place:
        last.place = differing
    elif differing >= _NONE and complete:
        _learn(raw, last, head)
    return head


def _like_usual(raw: bytes, last: LastHead, usual: RequestHead) -> RequestHead | None:
    """The head if it is that of a usual request but for one line, of the same kind. Raises RequestRefused."""
    if not raw.startswith(last.before) or not raw.endswith(last.after):
        return None
    start, end = len(last.before), len(raw) - len(last.after)
    if start >= end:  # fewer lines
        return None
    line = raw[start:end]
    cached = FIELDS.get(line)
    if cached is None:
        if line.find(b"\r\n") >= 0:  # more
            return None
        cached = read_field(line)
    kind = cached.kind
    if kind != last.fields[last.place].kind:
        return None
    last.fields[last.place] = cached
    head = RequestHead(usual.start)
    head.host, head.length, head.keep_alive = usual.host, usual.length, usual.keep_alive
    head.fields = usual.fields.copy()
    if kind == FRAMING:
        head.length = cached.said
    else:
        head.fields[last.kept_place] = cached
    head.known_block = b"%b%b%b" % (last.block_before, cached.line, last.block_after)
    return head


def _learn(raw: bytes, last: LastHead, head: RequestHead) -> None:
    """Remember the head as a usual one, if a field that passes or the length is the line that differs."""
    fields = last.fields
    if last.place < 0:  # none has differed yet: any field that passes may be the next that does
        last.place = next((n for n, field in enumerate(fields) if field.kind == PASS), 0)
    if last.place >= len(fields) or fields[last.place].kind not in (PASS, FRAMING) or not _is_plain(head):
        return
    earlier, differs, later = fields[: last.place], fields[last.place], fields[last.place + 1 :]
    start = len(head.start.raw) + sum([len(field.raw) for field in earlier])
    last.before, last.after = raw[:start], raw[start + len(differs.raw) - 2 :]
    last.block_before = b"".join([field.line for field in earlier])
    last.block_after = b"".join([field.line for field in later])
    last.kept_place = len([field for field in earlier if field.kind == PASS])
    last.usual = head


def _is_plain(head: RequestHead) -> bool:
    """Whether nothing follows from its fields but the host, the length and whether the connection stays."""
    return not (
        head.claims or head.nominees or head.traced or head.expects_continue or head.takes_trailers
    ) and (
        head.start.is_http11 and head.upgrade is None and head.request_id is None and head.override is None
    )


_NONE: Final = -1
_SEVERAL: Final = -2


def _read_fields(raw: bytes, position: int, last: list[Field], max_fields: int) -> int:
    """Replace the fields in `last` by those that begin at `position`. A line like the one before is compared, not read.

    Returns the number of the line that differs alone, _NONE or _SEVERAL.
    """
    known = len(last)
    if not known:
        _read_all_fields(raw, position, last, max_fields)
        return _SEVERAL
    n = 0
    differing = _NONE
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
            raise _too_many(max_fields)
        after = raw.find(b"\r\n", position)
        line = raw[position:after]
        cached = FIELDS.get(line)
        field = read_field(line) if cached is None else cached
        if n < known:
            last[n] = field
        else:
            last.append(field)
        differing = n if differing == _NONE else _SEVERAL
        position = after + 2
        n += 1
    if n < known:
        del last[n:]
    return differing if n == known else _SEVERAL


def _read_all_fields(raw: bytes, position: int, fields: list[Field], max_fields: int) -> None:
    """Of the first request of a connection: one split is cheaper than a search for the end of each line."""
    if position == len(raw) - 2:
        return
    for line in raw[position:-4].split(b"\r\n"):
        if len(fields) >= max_fields:
            raise _too_many(max_fields)
        cached = FIELDS.get(line)
        fields.append(read_field(line) if cached is None else cached)


def _too_many(max_fields: int) -> RequestRefused:
    return RequestRefused(Stage.LIMIT, f"The request has more than {max_fields} header fields.", 431)


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
    if (options and options != KEEP_ALIVE) or head.upgrade is not None or not start.is_http11:
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


def _apply_connection(head: RequestHead, options: AbstractSet[bytes]) -> None:
    """Acts on all Connection options; fields that they name are removed (RFC 9110 section 7.6.1)."""
    head.keep_alive = stays_open(options, head.keep_alive)
    if b"upgrade" not in options:  # an Upgrade field that Connection does not name is for an earlier hop
        head.upgrade = None
    nominees = options - CONNECTION_OPTIONS
    if nominees:
        head.nominees = nominees
        head.fields = [field for field in head.fields if field.name not in nominees]
