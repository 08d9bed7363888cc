"""The ledger: a route's map from 10 000 buckets to backends.

Rule (law 2): shares equal the weights to the bucket; a change of weights moves Σ|Δw|/2 buckets and
no more; a backend that grows keeps every bucket it had. Buckets change hands in an order that is
fixed by the route's salt, so the same history gives the same map everywhere. The map depends on
its history, hence it is state: versioned here, journalled by the control plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

import msgspec

BUCKETS = 10_000


class Ledger(msgspec.Struct, frozen=True):
    """`slots[bucket]` is an index into `backends`; `version` rises with every change."""

    backends: tuple[str, ...]
    slots: bytes
    version: int = 1

    @property
    def weights(self) -> dict[str, int]:
        """Buckets by backend, those with none included."""
        return {name: self.slots.count(index) for index, name in enumerate(self.backends)}

    def backend_of(self, bucket: int) -> str:
        return self.backends[self.slots[bucket]]


def salt_of(route: str) -> bytes:
    """Each route has its own salt, so that experiments on two routes are independent."""
    return blake2b(route.encode(), digest_size=16, person=b"crossfade.route").digest()


def _digest_of(what: bytes, salt: bytes) -> bytes:
    """Eight bytes of blake2b of both, the same in every process.

    The salt has a fixed length, so it needs no separator; as blake2's own key it would be hashed in a block
    of its own, at twice the price.
    """
    return blake2b(salt + what, digest_size=8).digest()


def hash_of(key: bytes, salt: bytes) -> int:
    """64 bits that stand for a sticky key."""
    return int.from_bytes(_digest_of(key, salt), "little")


def bucket_of(key: bytes, salt: bytes) -> int:
    """The bucket of a sticky key."""
    return hash_of(key, salt) % BUCKETS


@lru_cache(maxsize=1024)
def bucket_order(salt: bytes) -> tuple[int, ...]:
    """All buckets in the order in which they change hands on this route."""
    return tuple(sorted(range(BUCKETS), key=lambda b: _digest_of(b.to_bytes(2, "little"), salt)))


def new_ledger(weights: Mapping[str, int], salt: bytes) -> Ledger:
    """A first ledger with these weights (out of 10 000).

    It starts wholly with the heaviest backend and moves the others in, so that it equals the map
    that a rollout climbing to the same weights would have reached.
    """
    _check_weights(weights)
    heaviest = min(weights, key=lambda name: (-weights[name], name))  # in any order of the file
    whole = Ledger((heaviest,), bytes(BUCKETS), version=0)
    return reweigh(whole, weights, salt)


def reweigh(ledger: Ledger, weights: Mapping[str, int], salt: bytes) -> Ledger:
    """The next version with these weights, having moved Σ|Δw|/2 buckets.

    Shrinking backends give up buckets in the salted order, growing ones take them in it; backends not
    named weigh 0. Raises ValueError if the weights do not add up to 10 000.
    """
    _check_weights(weights)
    ledger = renamed(ledger, [n for n, held in ledger.weights.items() if held or n in weights])
    names = ledger.backends + tuple(sorted(set(weights) - set(ledger.backends)))
    surplus = [ledger.slots.count(index) - weights.get(name, 0) for index, name in enumerate(names)]
    freed = _freed_buckets(ledger.slots, list(surplus), bucket_order(salt))
    slots = bytearray(ledger.slots)
    for index, excess in enumerate(surplus):
        wanted = max(-excess, 0)
        for bucket in freed[:wanted]:
            slots[bucket] = index
        del freed[:wanted]
    return Ledger(names, bytes(slots), ledger.version + 1)


def _freed_buckets(slots: bytes, surplus: list[int], order: tuple[int, ...]) -> list[int]:
    """The buckets that backends with a surplus lose, in salted order.

    The first backend loses from the end of the order and the others from its beginning: what one
    took from the first last, it returns first, and weights that go up and come back give the former map.
    """
    freed = set()
    for buckets, owners in ((reversed(order), (0,)), (order, range(1, len(surplus)))):
        for bucket in buckets:
            owner = slots[bucket]
            if owner in owners and surplus[owner] > 0:
                surplus[owner] -= 1
                freed.add(bucket)
    return [bucket for bucket in order if bucket in freed]


def renamed(ledger: Ledger, names: list[str]) -> Ledger:
    """The same map with the backend list reduced to these names; every owner must be among them."""
    table = bytes(names.index(name) if name in names else 0 for name in ledger.backends).ljust(256, b"\0")
    return Ledger(tuple(names), ledger.slots.translate(table), ledger.version)


def restore(former: Ledger, current: Ledger) -> Ledger:
    """The former map, bit for bit, as the next version after the current one."""
    return Ledger(former.backends, former.slots, current.version + 1)


def moved(before: Ledger, after: Ledger) -> int:
    """How many buckets have another owner."""
    return sum(
        before.backends[a] != after.backends[b] for a, b in zip(before.slots, after.slots, strict=True)
    )


def _check_weights(weights: Mapping[str, int]) -> None:
    if sum(weights.values()) != BUCKETS or min(weights.values(), default=-1) < 0:
        raise ValueError(f"weights must be ≥ 0 and add up to {BUCKETS}: {dict(weights)}")
