"""Failed attempts to get in, counted by reason, and by address so that guessing is slow.

Rule: an address may fail `BURST` times, and once more in each `REGAIN` seconds. Beyond that its wrong tokens get 429, and
tokens that are short enough to be guessed are not even looked at, so an answer tells nothing. A long token is always looked at:
it cannot be guessed at any rate, and so nobody can lock out its owner, not even from the same address. Nobody waits for an
answer: that would hold connections. What is kept is bounded; times are seconds on a clock that only goes forward.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

log = logging.getLogger("crossfade.admin")

BURST = 10
REGAIN = 6.0
MOST = 10_000  # addresses
NOTE_EVERY = 10.0  # seconds between two lines of the log


class Failure(StrEnum):
    """Why somebody does not get in."""

    MISSING = "missing"  # no token and no session
    TOKEN = "token"  # a wrong one
    THROTTLED = "throttled"  # a wrong one, of an address with too many
    SESSION = "session"  # one that has ended, or never was
    ROLE = "role"  # known, but not allowed to do this
    ORIGIN = "origin"  # a page of another site
    HOST = "host"  # a name, where no token protects against DNS rebinding


class Failures:
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.counts: Counter[Failure] = Counter()
        self.spent: dict[str, float] = {}  # by source, until when its allowance is not whole; the latest last
        self.noted = float("-inf")

    def count(self, reason: Failure) -> None:
        self.counts[reason] += 1

    def wait(self, source: str) -> float:
        """Seconds until this source may fail again; 0 if it may now."""
        over = self.spent.get(source, 0.0) - self.now() - (BURST - 1) * REGAIN
        return max(over, 0.0)

    def fail(self, source: str) -> None:
        """It has sent a wrong token, and was allowed to."""
        now = self.now()
        until = max(self.spent.pop(source, now), now) + REGAIN
        self.spent[source] = until
        if len(self.spent) > MOST:
            del self.spent[next(iter(self.spent))]
        if until - now > (BURST - 1) * REGAIN and now - self.noted >= NOTE_EVERY:
            self.noted = now
            log.warning("admin: %d wrong tokens from %s; more are refused for a while", BURST, source)


def source_of(peer: object) -> str:
    """Of the peer's address: who controls an IPv6 address controls the 2^64 beside it."""
    host = peer[0] if isinstance(peer, tuple) and peer else ""
    try:
        address = ip_address(str(host).partition("%")[0])
    except ValueError:
        return "a local socket"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
    return str(address)
