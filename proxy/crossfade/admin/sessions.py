"""Sessions of browsers: who has logged in with a token need not send it again, and no script can read it.

Rule: a session is a random text that the browser holds as a cookie; here only its hash is. It ends after `LASTS`, at a logout,
with its token, and with the process: a restart and a takeover end all of them. Times are seconds on a clock that only goes
forward.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

LASTS = 12 * 3600.0
MOST = 50  # of one token; the oldest ends


class Session(NamedTuple):
    """`token`: the hash of the token with which it began."""

    token: bytes
    ends_at: float


class Sessions:
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.held: dict[bytes, Session] = {}  # by the hash of the cookie; the oldest first

    def begin(self, token: bytes) -> str:
        """The value of the cookie."""
        self._forget_ended()
        mine = [name for name, session in self.held.items() if session.token == token]
        for name in mine[: max(len(mine) + 1 - MOST, 0)]:
            del self.held[name]
        cookie = secrets.token_urlsafe(32)
        self.held[_name(cookie)] = Session(token, self.now() + LASTS)
        return cookie

    def token_of(self, cookie: str) -> bytes | None:
        """The hash of the token; None if there is no such session, or no longer."""
        session = self.held.get(_name(cookie))
        return session.token if session is not None and self.now() < session.ends_at else None

    def end(self, cookie: str) -> None:
        self.held.pop(_name(cookie), None)

    def keep_only(self, tokens: frozenset[bytes]) -> None:
        """End those of other tokens."""
        self.held = {name: session for name, session in self.held.items() if session.token in tokens}

    def _forget_ended(self) -> None:
        now = self.now()
        self.held = {name: session for name, session in self.held.items() if now < session.ends_at}


def _name(cookie: str) -> bytes:
    return sha256(cookie.encode(errors="surrogatepass")).digest()
