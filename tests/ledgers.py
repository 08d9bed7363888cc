"""The bucket of a key, and the backend of a bucket."""

from __future__ import annotations

from crossfade.routing.ledger import BUCKETS, Ledger, hash_of


def bucket_of(key: bytes, salt: bytes) -> int:
    return hash_of(key, salt) % BUCKETS


def backend_of(ledger: Ledger, bucket: int) -> str:
    return ledger.backends[ledger.slots[bucket]]
