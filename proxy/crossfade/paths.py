"""The spelling of paths: from the many spellings of one path to the one that routes are matched with.

RFC 3986 section 6.2.2, and further where model servers go further: they decode each percent-encoded character before
they look for a handler. So characters that may stand in a path segment as they are (section 3.3, `:` and `,` too) are
decoded, all others are encoded, hexadecimal digits are upper-case, and dot segments are removed.

Rule: only a comparison reads the result. What is forwarded keeps its bytes. A path that servers read in several ways
has several readings; the router compares their routes.
"""

from __future__ import annotations

import re
from typing import Final

_SEGMENT = rb"[A-Za-z0-9._~!$&'()*+,;=:@-]"  # pchar, without percent-encoding
# Each path with a repeated slash, a segment that begins with a dot, or a character to decode or encode is not plain.
_PLAIN: Final = re.compile(rb"(?:/(?!\.)" + _SEGMENT + rb"++)*+/?")
_TO_SPELL: Final = re.compile(rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/-]")
_IN_SEGMENT: Final = re.compile(_SEGMENT)
SLASHES: Final = re.compile(rb"//+")
_ENCODED_SLASH: Final = re.compile(rb"%2F|%5C")

REFUSE_IF_AMBIGUOUS: Final = "refuse_if_ambiguous"
KEEP: Final = "keep"
REFUSE: Final = "refuse"


class BadPath(ValueError):
    """A path that no two servers have to read alike; the message is safe to show."""


def spelled(path: bytes) -> bytes | None:
    """The path with each character in its one spelling; None for a plain path, which nothing changes. Raises BadPath."""
    if _PLAIN.fullmatch(path) is not None:
        return None
    return _TO_SPELL.sub(_spelled, path)


def _spelled(found: re.Match[bytes]) -> bytes:
    part = found[0]
    if part == b"%":
        raise BadPath("The path has a % without two hexadecimal digits.")
    character = bytes((int(part[1:], 16),)) if len(part) == 3 else part
    if character == b"\x00":
        raise BadPath("The path has a NUL.")
    return character if _IN_SEGMENT.fullmatch(character) is not None else b"%%%02X" % character[0]


def without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, but that a path above the root is refused. Raises BadPath."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise BadPath("The path goes above the root.")
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments and segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def readings(
    path: bytes, merge_slashes: bool = True, encoded_slashes: str = REFUSE_IF_AMBIGUOUS
) -> list[bytes]:
    """All paths that servers may take a spelled path for; routes are matched with the first one. Raises BadPath."""
    found = [_read(path, merge_slashes)]
    if merge_slashes and b"//" in path:  # a server may remove dot segments before it merges slashes
        found.append(SLASHES.sub(b"/", without_dots(path)))
    if encoded_slashes != KEEP and _ENCODED_SLASH.search(path) is not None:
        if encoded_slashes == REFUSE:
            raise BadPath("The path has an encoded slash or a backslash.")
        slashes = path.replace(b"%2F", b"/")
        for other in (slashes, slashes.replace(b"%5C", b"/")):
            found.append(_read(other, merge_slashes))
            if merge_slashes:
                found.append(SLASHES.sub(b"/", without_dots(other)))
    return list(dict.fromkeys(found))


def _read(path: bytes, merge_slashes: bool) -> bytes:
    return without_dots(SLASHES.sub(b"/", path) if merge_slashes else path)


def normalised(path: bytes) -> bytes:
    """The path as a route is written: repeated slashes stay. Raises BadPath."""
    return without_dots(spelled(path) or path)
