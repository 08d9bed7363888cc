"""Field lines: their grammar, and which of them end at a proxy.

A head is checked whole by one expression over bytes (RFC 9110 section 5, RFC 9112 section 5):
names are tokens, values hold no control character, lines end in CRLF, nothing is folded. After
that a line that is spelled canonically (`Name: value`) may travel as it is: copying it is the same
as spelling it anew. Anything spelled otherwise is re-spelled by `respell`.
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
DIGITS = re.compile(rb"[0-9]{1,18}")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")

# Fields that concern one connection only (RFC 9110 section 7.6.1, and what Go and nginx add to it).
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
# Fields that a Connection field cannot nominate away: framing, routing and what this proxy vouches for.
PROTECTED = frozenset({b"host", b"content-length", b"transfer-encoding", b"x-request-id", b"traceparent"})
# What this proxy says of its client, so that nobody else can.
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
OWN_PREFIX = b"x-crossfade-"
NOTHING: Final[frozenset[bytes]] = frozenset()


def look_alikes(name: bytes) -> frozenset[bytes]:
    """The name with each hyphen as it is or as an underscore: behind WSGI and CGI they are one name."""
    return frozenset(map(bytes, product(*(b"-_" if c == ord("-") else (c,) for c in name))))


OWN_PREFIXES = look_alikes(OWN_PREFIX)


def respell(block: bytes) -> bytes:
    """Field lines in canonical spelling; the block must have matched LOOSE_LINES."""
    lines = []
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        lines.append(name + b": " + value.strip(b" \t") + b"\r\n")
    return b"".join(lines)


def nominated(connection: bytes) -> set[bytes]:
    """The lower-cased options of a Connection field value that name fields to be removed here."""
    return members(connection) - PROTECTED


def members(value: bytes) -> set[bytes]:
    """What a field value lists, lower-cased (RFC 9110 section 5.6.1)."""
    return {member.strip(b" \t") for member in value.lower().split(b",")}


def without(block: bytes, names: AbstractSet[bytes]) -> bytes:
    """The block less the fields with these lower-cased names."""
    kept = [line for line in block.split(b"\r\n")[:-1] if line.partition(b":")[0].lower() not in names]
    return b"".join([line + b"\r\n" for line in kept])
