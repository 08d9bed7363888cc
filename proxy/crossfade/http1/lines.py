"""Parses one line of a request head, and caches the result by the line's bytes.

Rule: clients repeat their lines, and a cache look-up costs a tenth of parsing a line. Long lines and
credentials are not cached: a cached line serves all clients, and the caches outlive the connections. The caches
are bounded. A connection compares its lines with those of its last request first (`head.parse_request`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.headers import (
    DIGITS,
    FORWARDED,
    HOP_BY_HOP,
    HOST,
    OWN_PREFIX,
    OWN_PREFIXES,
    PROTECTED,
    REQUEST_ID,
    TEXT,
    TOKEN,
    members,
    nominated,
    underscore_variants,
)
from crossfade.http1.memory import remember
from crossfade.paths import BadPath, spelled

TARGET = rb"[!\"$-~]"  # no `#`: a target has no fragment (RFC 9112 section 3.2)
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb"++) (" + TARGET + rb"++) HTTP/1\.([01])")
_OTHER_VERSION = re.compile(TOKEN + rb"++ " + TARGET + rb"++ HTTP/(?!1\.[01])[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)")
# CONNECT opens a tunnel; TRACE would show clients the fields that proxies add.
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
_FIELD = re.compile(rb"(" + TOKEN + rb"++):[ \t]*+(" + TEXT + rb"*+)")
CHUNKED: Final = -1
BAD_HOST: Final = "The Host field is not valid, or there is more than one."
UNSUPPORTED_CODING: Final = "The only supported Transfer-Encoding is chunked, over HTTP/1.1."

# The kinds of request fields. PASS: forwarded without a look at its value.
PASS: Final = 0
FRAMING: Final = 1
HOSTNAME: Final = 2
DROP: Final = 3
CONNECTION: Final = 4
EXPECT: Final = 5
ID: Final = 6
TRACE: Final = 7
UPGRADE: Final = 8
TE: Final = 9
OVERRIDE: Final = 10
CLAIM: Final = 11  # about the client, by a proxy in front (`only_from_trusted`)
KINDS = dict.fromkeys(HOP_BY_HOP.union(*map(underscore_variants, PROTECTED | FORWARDED)), DROP) | {
    b"content-length": FRAMING,
    b"transfer-encoding": FRAMING,
    b"host": HOSTNAME,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"x-request-id": ID,
    b"traceparent": TRACE,
    b"upgrade": UPGRADE,
    b"te": TE,
    b"x-crossfade-override": OVERRIDE,
}
CREDENTIALS = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key", b"x-crossfade-override"}
)

_BODY_METHODS = frozenset({b"POST", b"PUT", b"PATCH"})


class Field:
    """A field line. `raw` is the line as received with its CRLF, `line` as it goes to the backend, with its CRLF; empty if it does not.

    `name` is lower-cased. `said` is what the reader in _READERS returns for the kind.
    """

    __slots__ = ("kind", "line", "name", "raw", "said", "value")

    def __init__(self, kind: int, raw: bytes, name: bytes, value: bytes, line: bytes, said: Any) -> None:
        self.kind = kind
        self.raw = raw
        self.name = name
        self.value = value
        self.line = line
        self.said = said


class Start:
    """A request line. `target` is in origin-form or `*`; `authority` comes from a target in absolute-form.

    `spelled` is None for a plain path; for another one, the path in the spelling that routes are matched with.
    """

    __slots__ = (
        "authority",
        "bodiless",
        "is_http11",
        "method",
        "minor",
        "path",
        "query",
        "raw",
        "request_line",
        "spelled",
        "states_length",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, minor: bytes, authority: bytes | None = None) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.is_http11 = minor == b"1"
        self.bodiless = method == b"HEAD"  # the response has no body
        # Content-Length: 0 is sent if the request has no body (RFC 9110 section 8.6).
        self.states_length = method in _BODY_METHODS
        self.authority = authority
        self.path, _, self.query = target.partition(b"?")
        self.spelled = None if target == b"*" else spelled(self.path)
        self.raw = b""  # the line as received, with its CRLF
        self.request_line = b"%b %b HTTP/1.1\r\nHost: " % (method, target)  # as it goes to the backend


KEPT_LINES = 4096
KEPT_LENGTH = 64
FIELDS: Final[dict[bytes, Field]] = {}
STARTS: Final[dict[bytes, Start]] = {}
CLAIMS: Final[set[bytes]] = set()
_PLAIN_CLAIMS: Final[set[bytes]] = set()  # with `-` for `_`


def only_from_trusted(names: set[bytes]) -> None:
    """From now on, fields of these lower-cased names are in `RequestHead.claims`, and not in its `fields`.

    For the whole process, which has one data plane.
    """
    if names == CLAIMS:
        return
    CLAIMS.clear()
    CLAIMS.update(names)
    _PLAIN_CLAIMS.clear()
    _PLAIN_CLAIMS.update([name.replace(b"_", b"-") for name in CLAIMS])
    FIELDS.clear()


def is_claim(name: bytes) -> bool:
    """Whether only trusted proxies may send a field of this lower-cased name, or one that WSGI takes for the same."""
    return name.replace(b"_", b"-") in _PLAIN_CLAIMS


def read_start(line: bytes) -> Start:
    """Raises RequestRefused (400, 501, 505)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _OTHER_VERSION.fullmatch(line):
            raise RequestRefused(Stage.PARSE, "The HTTP version must be 1.0 or 1.1.", 505)
        raise RequestRefused(Stage.PARSE)
    method, target, minor = match.groups()
    target, authority = _read_target(method, target)
    try:
        start = Start(method, target, minor, authority)
    except BadPath as error:
        raise RequestRefused(Stage.PARSE, str(error)) from None
    start.raw = line + b"\r\n"
    remember(STARTS, line, start, KEPT_LINES, KEPT_LENGTH)
    return start


def _read_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """(target, authority). Origin-form and `OPTIONS *` pass, absolute-form is split, other forms are refused."""
    if method in _REFUSED_METHODS:
        raise RequestRefused(Stage.PARSE, "The methods CONNECT and TRACE are not supported.", 501)
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not HOST.fullmatch(match[1]):
        raise RequestRefused(Stage.PARSE, "The request target is not valid.")
    authority, origin = match.groups()
    if not origin and method == b"OPTIONS":  # about the server as a whole (RFC 9112 section 3.2.4)
        return b"*", authority
    return (origin if origin[:1] == b"/" else b"/" + origin), authority


def read_field(line: bytes) -> Field:
    """Raises RequestRefused (400, 417)."""
    match = _FIELD.fullmatch(line)
    if match is None:
        raise RequestRefused(Stage.PARSE)
    spelled, value = match.groups()
    value = value.rstrip(b" \t")
    name = spelled.lower()
    kind = KINDS.get(name, PASS)
    if kind == PASS and name[: len(OWN_PREFIX)] in OWN_PREFIXES:
        kind = DROP
    elif kind == PASS and is_claim(name):
        kind = CLAIM if name in CLAIMS else DROP
    if kind in (PASS, TRACE, CLAIM):
        field = Field(kind, line + b"\r\n", name, value, b"%b: %b\r\n" % (spelled, value), None)
    else:
        field = Field(kind, line + b"\r\n", name, value, b"", _READERS[kind](name, value))
    if name not in CREDENTIALS:
        remember(FIELDS, line, field, KEPT_LINES, KEPT_LENGTH)
    return field


def _body_length(name: bytes, value: bytes) -> int:
    """The length that a framing field states; CHUNKED for Transfer-Encoding."""
    if name == b"content-length":
        if not DIGITS.fullmatch(value):
            raise RequestRefused(Stage.PARSE, "Content-Length is not a decimal number.")
        return int(value)
    if value.lower() != b"chunked":
        raise RequestRefused(Stage.PARSE, UNSUPPORTED_CODING)
    return CHUNKED


def _hostname(_: bytes, value: bytes) -> bytes:
    if not HOST.fullmatch(value):
        raise RequestRefused(Stage.PARSE, BAD_HOST)
    return value


def _expectation(_: bytes, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise RequestRefused(Stage.PARSE, "The only supported expectation is 100-continue.", 417)


_READERS: dict[int, Callable[[bytes, bytes], Any]] = {
    FRAMING: _body_length,
    HOSTNAME: _hostname,
    DROP: lambda name, value: None,
    CONNECTION: lambda name, value: frozenset(nominated(value)),
    EXPECT: _expectation,
    ID: lambda name, value: value if REQUEST_ID.fullmatch(value) else None,
    UPGRADE: lambda name, value: value,
    OVERRIDE: lambda name, value: value,
    TE: lambda name, value: b"trailers" in members(value),
}
