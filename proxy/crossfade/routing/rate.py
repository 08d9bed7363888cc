"""Rate limits: a token bucket for each key, in one table that all workers share.

Of a bucket only the time is kept at which it is full again. A request moves that time on by what one
token takes to come, unless it would then lie further ahead than a whole burst (the generic cell rate
algorithm). A time that has passed is a full bucket, which is as good as none: entries expire by
themselves.

Memory is bounded by construction: sets of WAYS entries, and a key's hash says which set. A key that
finds its set taken displaces the bucket that is next to be full, the one least in need of being
remembered; who spends a whole burst is forgotten last. Nothing is locked: workers that admit the
same key in the same microseconds may charge it once for all. `now` is in seconds, of a clock that
the workers share.
"""

from __future__ import annotations

from typing import Any

from crossfade.http1.head import RequestHead
from crossfade.routing.key import key_source
from crossfade.routing.ledger import hash_of
from crossfade.routing.snapshot import Rate

WAYS = 8
_KEYS = 131_072
ENTRY_BYTES = 16  # a hash, and a time
TABLE_BYTES = _KEYS * ENTRY_BYTES
SLACK = 1e-6  # seconds; sums of floats lie beside the truth, by less than this


class RateLimit:
    """What a route allows for each key: `burst` requests at once, one each `token` seconds in the long run."""

    __slots__ = ("burst", "needs_body", "salt", "source", "token")

    def __init__(self, rate: Rate, salt: bytes) -> None:
        self.token = 1 / rate.per_second
        self.burst = rate.burst / rate.per_second  # seconds for an empty bucket to be full
        self.source = key_source(rate.key)
        self.needs_body = rate.key.kind == "json"
        self.salt = salt

    def key(self, head: RequestHead, body: Any, client: bytes) -> bytes:
        """The request's key. Without one it is the client's address, which no key that is sent can be taken for."""
        key = self.source(head, body, client)
        return b"k" + key if key else b"a" + client


class RateTable:
    """Buckets in `memory`, a writable buffer of a multiple of WAYS entries, all zero at first."""

    def __init__(self, memory: memoryview) -> None:
        half = len(memory) // 2
        self.sets = len(memory) // (ENTRY_BYTES * WAYS)
        self.hashes = memory[:half].cast("Q")
        self.times: Any = memory[half:].cast("d")  # floats, for which memoryview has no type

    def charge(self, limit: RateLimit, key: bytes, now: float) -> float:
        """Take a token: 0.0 if there is one, else the seconds until there will be."""
        digest = hash_of(key, limit.salt) or 1  # 0 is an entry that was never used
        first = digest % self.sets * WAYS
        there = self.hashes[first : first + WAYS].tolist()
        known = digest in there
        if known:
            entry = first + there.index(digest)
            full_at = max(self.times[entry], now)
        else:
            times = self.times[first : first + WAYS].tolist()
            entry = first + times.index(min(times))
            full_at = now
        wait: float = full_at + limit.token - limit.burst - now
        if wait > SLACK:
            return wait
        self.times[entry] = (
            full_at + limit.token
        )  # before the hash, or another key's time would be taken for its own
        if not known:
            self.hashes[entry] = digest
        return 0.0
