"""Field lines: their grammar, and which of them a proxy must not forward.

Rule: a block of lines is checked by one regular expression over bytes (RFC 9110 section 5, RFC 9112
section 5): names are tokens, values hold no control character, lines end in CRLF, nothing is folded.
A line in canonical spelling (`Name: value`) is copied; `respell` rewrites any other line.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from itertools import product
from typing import Final

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]"
CANONICAL_LINES = rb"((?:" + TOKEN + rb"++: (?![ \t])" + TEXT + rb"*+\r\n)*+)"
LOOSE_LINES = rb"((?:" + TOKEN + rb"++:" + TEXT + rb"*+\r\n)*+)"
# Whitespace before the colon: refused in a request, removed from an answer (RFC 9112 section 5.1).
SPACED_LINES = rb"((?:" + TOKEN + rb"++[ \t]*+:" + TEXT + rb"*+\r\n)*+)"
DIGITS = re.compile(rb"[0-9]{1,18}")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")

# Fields of one connection (RFC 9110 section 7.6.1, and those that Go and nginx add).
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"upgrade",
        b"http2-settings",
    }
)
# Fields that a Connection field cannot remove: framing, routing, and those that this proxy sets.
PROTECTED = frozenset({b"host", b"content-length", b"transfer-encoding", b"x-request-id", b"traceparent"})
# Fields about the client. The proxy sets them; a client's own are removed.
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
OWN_PREFIX = b"x-crossfade-"
NOTHING: Final[frozenset[bytes]] = frozenset()
KEEP_ALIVE: Final = frozenset({b"keep-alive"})
CONNECTION_OPTIONS: Final = KEEP_ALIVE | {b"close", b"upgrade"}  # that name no field


def underscore_variants(name: bytes) -> frozenset[bytes]:
    """The name with any of its hyphens as underscores: WSGI and CGI do not tell the two apart."""
    return frozenset(map(bytes, product(*(b"-_" if c == ord("-") else (c,) for c in name))))


OWN_PREFIXES = underscore_variants(OWN_PREFIX)


def respell(block: bytes) -> bytes:
    """The field lines in canonical spelling; the block must match SPACED_LINES."""
    lines = []
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        lines.append(name.rstrip(b" \t") + b": " + value.strip(b" \t") + b"\r\n")
    return b"".join(lines)


def nominated(connection: bytes) -> set[bytes]:
    """The lower-cased options of a Connection field value, less the protected names."""
    return members(connection) - PROTECTED


def stays_open(options: AbstractSet[bytes], otherwise: bool) -> bool:
    """Whether the connection stays open by its Connection options. `close` wins. `otherwise`: by the version alone."""
    return b"close" not in options and (otherwise or b"keep-alive" in options)


def members(value: bytes) -> set[bytes]:
    """The members of a list-valued field, lower-cased (RFC 9110 section 5.6.1)."""
    return {member.strip(b" \t") for member in value.lower().split(b",")}


def without(block: bytes, names: AbstractSet[bytes]) -> bytes:
    """The block without the fields of these lower-cased names."""
    kept = [line for line in block.split(b"\r\n")[:-1] if line.partition(b":")[0].lower() not in names]
    return b"".join([line + b"\r\n" for line in kept])
