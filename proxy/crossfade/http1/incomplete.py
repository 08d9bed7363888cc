"""Incomplete heads: whether further bytes can make a valid one (RFC 9112 sections 2.2, 3 and 4).

Rule: what no further byte can repair is refused when it arrives, not when a timeout ends, and as the whole head would
be: its complete lines go through the same parser, and its last line must match a prefix of the grammar. So a bare LF,
a CR without LF and a control character are refused at once. Other faults of a long head in many pieces are found when
its size has doubled, for each check reads it from its beginning.
"""

from __future__ import annotations

import re
from typing import Final

from crossfade.errors import RequestRefused, ResponseRefused, Stage
from crossfade.http1.headers import TEXT, TOKEN
from crossfade.http1.lines import TARGET
from crossfade.http1.request_head import parse_request
from crossfade.http1.response_head import check_response_head


def _prefixes(*parts: bytes) -> re.Pattern[bytes]:
    """Matches each prefix of the sequence of these expressions."""
    found = b""
    for part in reversed(parts):
        found = b"(?:%b%b)?" % (part, found)
    return re.compile(found)


_VALUE = TEXT + b"*+"
_REQUEST_LINE = _prefixes(
    TOKEN + b"++", b" ", TARGET + b"++", b" ", b"H", b"T", b"T", b"P", b"/", b"[0-9]", rb"\.", b"[0-9]", b"\r"
)
_STATUS_LINE = _prefixes(
    b"H",
    b"T",
    b"T",
    b"P",
    b"/",
    b"1",
    rb"\.",
    b"[01]",
    b" ",
    b"[1-9]",
    b"[0-9]",
    b"[0-9]",
    b"(?: %b)?\r?" % _VALUE,
)
_REQUEST_FIELD = re.compile(rb"(?:%b++(?::%b)?)?\r?" % (TOKEN, _VALUE))
_RESPONSE_FIELD = re.compile(rb"(?:%b++[ \t]*+(?::%b)?)?\r?" % (TOKEN, _VALUE))

_NEVER_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_SHORT: Final = 1024  # bytes of a head that is checked with each piece


def is_check_due(data: bytearray, known: int) -> bool:
    """Whether to check the beginning of a head, of which `known` bytes were here before."""
    size = len(data)
    return (
        size < _SHORT
        or size.bit_length() > known.bit_length()
        or _NEVER_IN_A_HEAD.search(data, max(known - 1, 0)) is not None
    )


def check_request(data: bytes, max_fields: int) -> None:
    """`data` is the beginning of a head. Raises RequestRefused if it cannot become a valid one."""
    end = data.rfind(b"\r\n")
    if end < 0:
        if data == b"\r":  # it may begin an empty line (RFC 9112 section 2.2)
            return
        valid = _REQUEST_LINE.fullmatch(data)
    else:
        parse_request(data[: end + 2] + b"\r\n", max_fields, complete=False)
        valid = _REQUEST_FIELD.fullmatch(data, end + 2)
    if valid is None:
        raise RequestRefused(Stage.PARSE)


def check_response(data: bytes) -> None:
    """`data` is the beginning of a head. Raises ResponseRefused if it cannot become a valid one."""
    end = data.rfind(b"\r\n")
    if end < 0:
        valid = _STATUS_LINE.fullmatch(data)
    else:
        check_response_head(data[: end + 2] + b"\r\n")
        valid = _RESPONSE_FIELD.fullmatch(data, end + 2)
    if valid is None:
        raise ResponseRefused("the response head does not match the HTTP/1.1 grammar")
