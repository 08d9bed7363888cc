"""One line of a request's head at a time: what it says to us, and how it is spelled from here on.

Rule: a line is read once and then known by its bytes. Clients repeat themselves, and a look-up costs
a tenth of taking a line apart. Long lines and credentials are not kept, and what is kept is bounded.
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
    look_alikes,
    members,
    nominated,
)
from crossfade.http1.memory import remember

_TARGET = rb"[!\"$-~]"  # no `#`: a fragment never goes over the wire (RFC 9112 section 3.2)
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb"++) (" + _TARGET + rb"++) HTTP/1\.([01])")
_OTHER_VERSION = re.compile(TOKEN + rb"++ [!-~]++ HTTP/(?!1\.[01])[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)")
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})  # no tunnels, and no echo of what a proxy adds
_FIELD = re.compile(rb"(" + TOKEN + rb"++):[ \t]*+(" + TEXT + rb"*+)")
CHUNKED: Final = -1

# What a request's fields mean to us; all others are the client's and pass through unread.
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
KINDS = dict.fromkeys(HOP_BY_HOP.union(*map(look_alikes, PROTECTED | FORWARDED)), DROP) | {
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

Field = tuple[int, Any]  # a kind, and what its line says (see READINGS)


class Start:
    """A request line. `target` is in origin-form, or `*`; `authority` is that of an absolute target."""

    __slots__ = (
        "authority",
        "bodiless",
        "method",
        "minor",
        "modern",
        "opening",
        "path",
        "query",
        "says_none",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, minor: bytes, authority: bytes | None = None) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.modern = minor == b"1"
        self.bodiless = method == b"HEAD"  # its answer has no body
        self.says_none = method in _BODY_METHODS  # where it has no body itself (RFC 9110 section 8.6)
        self.authority = authority
        self.path, _, self.query = target.partition(b"?")
        self.opening = b"%b %b HTTP/1.1\r\nHost: " % (method, target)  # as it is spelled from here on


KEPT_LINES = 4096
KEPT_LENGTH = 64
FIELDS: Final[dict[bytes, Field]] = {}
STARTS: Final[dict[bytes, Start]] = {}


def read_start(line: bytes) -> Start:
    """Raises RequestRefused (400, 501, 505)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _OTHER_VERSION.fullmatch(line):
            raise RequestRefused(Stage.PARSE, "Only HTTP/1.0 and HTTP/1.1 are spoken here.", 505)
        raise RequestRefused(Stage.PARSE)
    method, target, minor = match.groups()
    target, authority = _read_target(method, target)
    start = Start(method, target, minor, authority)
    remember(STARTS, line, start, KEPT_LINES, KEPT_LENGTH)
    return start


def _read_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Forms other than origin-form: absolute-form is taken apart, `OPTIONS *` passes, the rest is refused."""
    if method in _REFUSED_METHODS:
        raise RequestRefused(Stage.PARSE, "This method is not offered here.", 501)
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not HOST.fullmatch(match[1]):
        raise RequestRefused(Stage.PARSE, "The request target is not valid.")
    authority, origin = match.groups()
    if not origin and method == b"OPTIONS":  # it asks about the server itself (RFC 9112 section 3.2.4)
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
    field: Field
    if kind == PASS and name[: len(OWN_PREFIX)] in OWN_PREFIXES:
        field = (DROP, None)
    elif kind in (PASS, TRACE):
        field = (kind, b"%b: %b" % (spelled, value))
    else:
        field = (kind, _READERS[kind](name, value))
    if name not in CREDENTIALS:
        remember(FIELDS, line, field, KEPT_LINES, KEPT_LENGTH)
    return field


def _body_length(name: bytes, value: bytes) -> int:
    """The length that one framing field states, CHUNKED for a coding."""
    if name == b"content-length":
        if not DIGITS.fullmatch(value):
            raise RequestRefused(Stage.PARSE, "Content-Length is not a number.")
        return int(value)
    if value.lower() != b"chunked":
        raise RequestRefused(Stage.PARSE, "This Transfer-Encoding is not accepted.")
    return CHUNKED


def _hostname(_: bytes, value: bytes) -> bytes:
    if not HOST.fullmatch(value):
        raise RequestRefused(Stage.PARSE, "The Host field is not valid, or not the only one.")
    return value


def _expectation(_: bytes, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise RequestRefused(Stage.PARSE, "This expectation cannot be met.", 417)


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
