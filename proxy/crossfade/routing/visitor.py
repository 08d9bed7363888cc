"""Visitor ids: the sticky key of clients that have none, in a signed cookie that the proxy sets.

The value is `ID.TIME.SIGNATURE`: 12 random bytes and the first 16 of HMAC-SHA256 in base64url, and the time of signing
in hexadecimal seconds. The signature covers the cookie's name, the id and the time. So nobody can choose an id, and
with it a bucket; a value that is forged or older than `max_age` counts as none. A visitor who comes back after half of
`max_age`, or with a signature of a former secret, gets the same id signed anew.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from crossfade.http1.forwarded import HTTPS
from crossfade.http1.request_head import RequestHead
from crossfade.routing.assigned import Assigned

ID_BYTES: Final = 12
_VALUE: Final = re.compile(rb"([A-Za-z0-9_-]{16})\.([0-9a-f]{1,10})\.([A-Za-z0-9_-]{22})")
_DOMAIN: Final = b"crossfade-visitor-1\n"  # signatures made for other purposes do not verify here


class Visit:
    """A valid id of a request. `renews`: it is to be signed anew."""

    __slots__ = ("renews", "visitor")

    def __init__(self, visitor: bytes, renews: bool) -> None:
        self.visitor = visitor
        self.renews = renews


class VisitorCookie:
    """The cookie of one route. The first secret signs, all are accepted."""

    __slots__ = ("attributes", "beginning", "max_age", "name", "prefix", "secrets", "secure")

    def __init__(self, spec: Assigned, secrets: tuple[str, ...]) -> None:
        self.name = spec.cookie.encode("ascii")
        self.prefix = _DOMAIN + self.name + b"\n"
        self.secrets = [secret.encode() for secret in secrets]
        self.max_age = spec.max_age
        # Browsers drop a cookie with SameSite=None and without Secure (RFC 6265bis section 5.7).
        self.secure = "true" if spec.same_site == "none" else spec.secure
        same_site = spec.same_site.capitalize()
        domain = f"; Domain={spec.domain}" if spec.domain else ""
        self.beginning = b"Set-Cookie: %b=" % self.name
        self.attributes = (
            f"; Max-Age={int(spec.max_age)}; Path={spec.path}{domain}; HttpOnly; SameSite={same_site}".encode(
                "ascii"
            )
        )

    def visit(self, head: RequestHead, now: float) -> Visit | None:
        """The first valid id of the request: a cookie may come several times, from several domains and paths."""
        cookies = head.find_list(b"cookie", b"; ")
        if cookies is None or self.name not in cookies:
            return None
        for pair in cookies.split(b";"):
            name, _, value = pair.strip(b" \t").partition(b"=")
            if name == self.name:
                visit = self.read(value, now)
                if visit is not None:
                    return visit
        return None

    def read(self, value: bytes, now: float) -> Visit | None:
        """None if the value was not signed here, or too long ago. `now` is in seconds since the epoch."""
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        visitor, signed_at, signature = match.group(1), match.group(2), match.group(3)
        age = now - int(signed_at, 16)
        if age > self.max_age:
            return None
        signed = value[: len(value) - len(signature) - 1]
        for number, secret in enumerate(self.secrets):
            if hmac.compare_digest(signature, self.signature(secret, signed)):
                return Visit(visitor, number > 0 or age > self.max_age / 2)
        return None

    def signature(self, secret: bytes, signed: bytes) -> bytes:
        digest = hmac.digest(secret, self.prefix + signed, sha256)
        return urlsafe_b64encode(digest[:16]).rstrip(b"=")

    def field(self, visitor: bytes, now: float, forwarded: bytes) -> bytes:
        """The Set-Cookie field for this id. `forwarded`: the fields that say whether the client came over TLS."""
        signed = b"%b.%x" % (visitor, int(now))
        signature = self.signature(self.secrets[0], signed)
        secure = self.secure == "true" or (self.secure == "auto" and HTTPS in forwarded)
        end = b"; Secure" if secure else b""
        return self.beginning + signed + b"." + signature + self.attributes + end


def visitor_of(random_bytes: bytes) -> bytes:
    """A new id from ID_BYTES random bytes."""
    return urlsafe_b64encode(random_bytes)
