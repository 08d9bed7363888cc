"""Override tokens: a tester with a token chooses a route's backend until the token expires.

Such requests are in no statistics of a rollout. A token is
`base64url(route LF backend LF expiry) . base64url(HMAC-SHA256(secret, that payload))`. The header is removed
before the request goes to the backend. An invalid token is refused, never ignored: a tester who expects
the new version must not get the old one.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from crossfade.errors import RequestRefused, Stage

_DOMAIN = b"crossfade-override-1\n"  # signatures made for other purposes do not verify here


def make_token(secret: str, route: str, backend: str, expiry: int) -> str:
    """A token that is valid until `expiry`, in seconds since the epoch."""
    payload = urlsafe_b64encode(f"{route}\n{backend}\n{expiry}".encode())
    return f"{payload.decode()}.{_signature(secret, payload).decode()}"


def _signature(secret: str, payload: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(secret.encode(), _DOMAIN + payload, sha256)).rstrip(b"=")


def read_token(secret: str, token: bytes, route: str, now: float) -> str:
    """The backend that the token names. Raises RequestRefused if it is not valid for this route at `now`."""
    payload, _, signed = token.partition(b".")
    if not hmac.compare_digest(signed, _signature(secret, payload)):
        raise RequestRefused(Stage.OVERRIDE, "The signature of the override token is not valid.")
    # The signature is ours, so the payload is well formed.
    of, backend, expiry = urlsafe_b64decode(payload).decode().split("\n")
    if of != route:
        raise RequestRefused(Stage.OVERRIDE, "The override token is for another route.")
    if now >= int(expiry):
        raise RequestRefused(Stage.OVERRIDE, "The override token has expired.")
    return backend
