"""Override tokens: a tester picks a route's backend for a while, with leave, and out of all statistics.

`base64url(route LF backend LF expiry) . base64url(HMAC-SHA256(secret, that payload))`. The header is
taken off with all others of ours before a request goes upstream. A token that is not good is refused,
never ignored: a tester who thinks to see the new version must not be shown the old one.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from crossfade.errors import RequestRefused, Stage

_DOMAIN = b"crossfade-override-1\n"  # so that a signature made for anything else is no token


def make_token(secret: str, route: str, backend: str, expiry: int) -> str:
    """Good until `expiry`, in seconds since the epoch."""
    payload = urlsafe_b64encode(f"{route}\n{backend}\n{expiry}".encode())
    return f"{payload.decode()}.{_signature(secret, payload).decode()}"


def _signature(secret: str, payload: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(secret.encode(), _DOMAIN + payload, sha256)).rstrip(b"=")


def read_token(secret: str, token: bytes, route: str, now: float) -> str:
    """The backend that it names. Raises RequestRefused if it is not good now, for this route."""
    payload, _, signed = token.partition(b".")
    if not hmac.compare_digest(signed, _signature(secret, payload)):
        raise RequestRefused(Stage.OVERRIDE, "The override token is not one of this proxy's.")
    # Only we have signed it, so it is well formed from here on.
    of, backend, expiry = urlsafe_b64decode(payload).decode().split("\n")
    if of != route:
        raise RequestRefused(Stage.OVERRIDE, "The override token is for another route.")
    if now >= int(expiry):
        raise RequestRefused(Stage.OVERRIDE, "The override token has expired.")
    return backend
