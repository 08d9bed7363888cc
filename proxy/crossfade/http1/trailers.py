"""Trailers: which fields are forwarded after a chunked body (RFC 9110 section 6.5).

Rule: no field that frames, routes, authenticates, controls or describes the message, no field of one
hop, none that only trusted proxies may send, and none that this proxy sets: a receiver that merges trailers
into the head would obey them.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from crossfade.http1.headers import (
    FORWARDED,
    HOP_BY_HOP,
    OWN_PREFIX,
    OWN_PREFIXES,
    PROTECTED,
    respell,
    underscore_variants,
    without,
)
from crossfade.http1.lines import is_claim

# The classes of RFC 9110 section 6.5.1. The lists of Go and Node are shorter.
_REQUEST_MODIFIERS = {
    b"cache-control", b"expect", b"if-match", b"if-modified-since", b"if-none-match", b"if-range",
    b"if-unmodified-since", b"max-forwards", b"pragma", b"range",
}  # fmt: skip
_AUTHENTICATION = {
    b"authentication-info", b"authorization", b"cookie", b"proxy-authentication-info", b"set-cookie",
    b"www-authenticate",
}  # fmt: skip
_RESPONSE_CONTROL = {b"age", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning"}
_CONTENT = {b"content-encoding", b"content-range", b"content-type", b"trailer"}
NEVER_TRAILERS = frozenset[bytes]().union(
    *map(
        underscore_variants,
        HOP_BY_HOP | PROTECTED | FORWARDED | _REQUEST_MODIFIERS | _AUTHENTICATION | _RESPONSE_CONTROL | _CONTENT,
    )
)  # fmt: skip


def trailer_fields(block: bytes, nominated: AbstractSet[bytes]) -> bytes:
    """The trailers to forward, respelled. The block matches LOOSE_LINES; `nominated` names are lower-case."""
    names = {line.partition(b":")[0].lower() for line in block.split(b"\r\n")}
    own = {name for name in names if name[: len(OWN_PREFIX)] in OWN_PREFIXES or is_claim(name)}
    return respell(without(block, NEVER_TRAILERS | nominated | own))
