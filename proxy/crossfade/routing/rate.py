"""Rate limits: a token bucket for each key, in one table that all workers share.

A bucket is stored as the time at which it is full again. A request moves that time forward by the time
that one token takes, and is refused if the time is then more than one burst ahead of now (the generic cell
rate algorithm). A time in the past is a full bucket, which is the same as no bucket: so entries expire by
themselves.

Memory is fixed: the table is set-associative, with sets of WAYS entries; the key's hash selects the set.
A new key in a full set replaces the bucket that will be full first; a key that has spent its whole burst is
replaced last. `now` is in seconds, of a clock that the workers share.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

from crossfade.http1.request_head import RequestHead
from crossfade.routing.key import key_source
from crossfade.routing.ledger import hash_of
from crossfade.routing.snapshot import Rate

WAYS = 8
_KEYS = 131_072
ENTRY_BYTES = 16  # a hash and a time
TABLE_BYTES = _KEYS * ENTRY_BYTES
SLACK = 1e-6  # seconds; the rounding error of summed floats is less than this


@lru_cache(maxsize=4096)
def network_of(client: bytes, prefix: int) -> bytes:
    """The network of an IPv6 address. A client gets a whole /64 (RFC 6177), and could use another address each time."""
    unused = 128 - prefix
    network = int(IPv6Address(client.decode("ascii"))) >> unused << unused
    return str(IPv6Address(network)).encode("ascii")


class RateLimit:
    """A route's limit for each key: `burst` requests at once, one per `token` seconds in the long run."""

    __slots__ = ("burst", "header", "ipv6_prefix", "salt", "source", "token")

    def __init__(self, rate: Rate, salt: bytes) -> None:
        self.token = 1 / rate.per_second
        self.burst = rate.burst / rate.per_second  # seconds until an empty bucket is full
        self.source = key_source(rate.key)
        self.ipv6_prefix = rate.ipv6_prefix
        self.header = rate.key.name.lower().encode() if rate.key.kind == "header" else b""
        self.salt = salt

    def key(self, head: RequestHead, body: Any, client: bytes) -> bytes:
        """The request's key, else the client's address; the prefixes k and a keep the two apart.

        A header with several fields is no key: a client could add a field with a new value to each request, and so
        have a new bucket each time, while the model reads the other field.
        """
        if b":" in client:
            client = network_of(client, self.ipv6_prefix)
        key = self.source(head, body, client)
        if not key or (self.header and head.has_several(self.header)):
            return b"a" + client
        return b"k" + key


class RateTable:
    """Buckets in `memory`: a writable buffer for a multiple of WAYS entries, initially zero."""

    def __init__(self, memory: memoryview) -> None:
        half = len(memory) // 2
        self.sets = len(memory) // (ENTRY_BYTES * WAYS)
        self.hashes = memory[:half].cast("Q")
        self.times: Any = memory[half:].cast("d")  # Any: typeshed has no memoryview of floats

    def charge(self, limit: RateLimit, key: bytes, now: float) -> float:
        """Takes a token and returns 0.0, or returns the seconds until there is one."""
        return self.take(limit, hash_of(key, limit.salt) or 1, now)  # 0 marks an unused entry

    def take(self, limit: RateLimit, digest: int, now: float) -> float:
        """`charge` for a key's hash. Only one process at a time may be in it for keys of one set."""
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
        # The time is written before the hash; else a worker that is killed here leaves this key the replaced key's time.
        self.times[entry] = full_at + limit.token
        if not known:
            self.hashes[entry] = digest
        return 0.0
