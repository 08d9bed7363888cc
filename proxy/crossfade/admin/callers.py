"""The callers that the configuration knows: by their tokens.

Rule: a given token is compared with all, in constant time, and with hashes under a key of this process: how long it takes says
neither how much of a token is right nor whose it is. The tokens themselves are not kept.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from hashlib import blake2b
from typing import NamedTuple

from crossfade.admin.roles import Role
from crossfade.config.admin import LONG_ENOUGH, AdminConfig

log = logging.getLogger("crossfade.admin")

_KEY = secrets.token_bytes(32)


class Caller(NamedTuple):
    """`name`: "" for whoever has the single `admin.token`, or needs none. `is_strong`: nobody guesses the token."""

    name: str
    role: Role
    token: bytes = b""
    is_strong: bool = True

    @property
    def shown(self) -> str:
        return self.name or ("api" if self.token else "local")


LOCAL = Caller("", Role.OPERATOR)


class Callers:
    def __init__(self, config: AdminConfig) -> None:
        is_strong = len(config.token) >= LONG_ENOUGH
        known = [Caller("", Role.OPERATOR, hashed(config.token), is_strong)] if config.token else []
        known += [Caller(each.name, Role(each.role), hashed(each.token)) for each in config.tokens]
        if not all(caller.is_strong for caller in known):
            log.warning("admin.token is shorter than %d characters, so it can be guessed", LONG_ENOUGH)
        self.known: list[Caller] = []
        for caller in known:
            if self.with_hash(caller.token) is None:
                self.known.append(caller)
            else:  # by variables, or a rule would have said so
                log.error("admin.tokens: the token of %s is that of another one; it is not used", caller.name)

    def with_token(self, given: str, only_strong: bool, also: Caller) -> Caller | None:
        """`only_strong`: those whose token could be guessed are left out. `also`: one that no file names."""
        digest, found = hashed(given), None
        for caller in (*self.known, also):
            if hmac.compare_digest(caller.token, digest) and (caller.is_strong or not only_strong):
                found = caller
        return found

    def with_hash(self, token: bytes) -> Caller | None:
        return next((caller for caller in self.known if caller.token == token), None)


def hashed(token: str) -> bytes:
    return blake2b(token.encode(errors="surrogatepass"), key=_KEY, digest_size=32).digest()
