"""Trailers: which fields may stand behind a chunked body, and pass (RFC 9110 section 6.5).

Rule: nothing that frames, routes, authenticates, controls or describes the body, nothing of this hop
and nothing that this proxy vouches for: who merges trailers into the head must not be talked into it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from crossfade.http1.headers import (
    FORWARDED,
    HOP_BY_HOP,
    OWN_PREFIX,
    OWN_PREFIXES,
    PROTECTED,
    look_alikes,
    respell,
    without,
)

# By the classes of RFC 9110 section 6.5.1; the lists of Go and Node are shorter.
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
        look_alikes,
        HOP_BY_HOP | PROTECTED | FORWARDED | _REQUEST_MODIFIERS | _AUTHENTICATION | _RESPONSE_CONTROL | _CONTENT,
    )
)  # fmt: skip


def trailer_fields(block: bytes, nominated: AbstractSet[bytes]) -> bytes:
    """Those that may pass, spelled anew; the block matched LOOSE_LINES, names in `nominated` are lower case."""
    names = {line.partition(b":")[0].lower() for line in block.split(b"\r\n")}
    own = {name for name in names if name[: len(OWN_PREFIX)] in OWN_PREFIXES}
    return respell(without(block, NEVER_TRAILERS | nominated | own))
