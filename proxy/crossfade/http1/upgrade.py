"""Upgrades: what a client validly asks for, and whether a 101 grants it (RFC 9110 section 7.8, RFC 6455).

Rule: a request whose upgrade is not valid by the RFCs is an ordinary request; its Upgrade field is not
forwarded. A 101 that does not grant the request's own upgrade is an invalid response. Otherwise one side
could read as requests what the other sends as frames (request smuggling).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Collection

from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import ResponseHead

_WEBSOCKET = b"websocket"
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64 (RFC 6455 section 4.1)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


def requested(head: RequestHead, allowed: Collection[bytes]) -> bytes | None:
    """The first allowed protocol that the client names, lower-cased; None if the request asks for none validly.

    `head.upgrade` is set only if the Connection field names Upgrade.
    """
    if head.upgrade is None or head.start.method != b"GET" or not head.start.is_http11 or head.length:
        return None
    named = [protocol.strip(b" \t") for protocol in head.upgrade.lower().split(b",")]
    protocol = next((p for p in named if p in allowed), None)
    if protocol == _WEBSOCKET and not _KEY.fullmatch(head.field(b"sec-websocket-key") or b""):
        return None
    return protocol


def grants(answer: ResponseHead, head: RequestHead, protocol: bytes) -> bool:
    """Whether this 101 switches to the requested protocol, for this request.

    The accept value is a hash of the client's key (RFC 6455 section 4.2.2). It is missing from a 101 that
    a client made another resource of the backend send.
    """
    if answer.upgrade is None or answer.upgrade.lower() != protocol:
        return False
    if protocol != _WEBSOCKET:
        return True
    key = head.field(b"sec-websocket-key") or b""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    accept = b"sec-websocket-accept: " + binascii.b2a_base64(digest, newline=False)
    return accept in [
        name.lower() + colon + value
        for name, colon, value in (line.partition(b": ") for line in answer.block.split(b"\r\n"))
    ]
