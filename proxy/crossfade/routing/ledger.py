"""The ledger: a route's map from 10 000 buckets to backends.

Rule (law 2): each backend has exactly as many buckets as its weight. A change of weights moves exactly
Σ|Δw|/2 buckets. A backend whose weight grows keeps all its buckets. Buckets move in an order fixed by the
route's salt, so the same history gives the same map in every process. The map depends on its history, so
it is state: it has a version, and the control plane journals it.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import compress, islice

import msgspec

from crossfade.scale import WHOLE

BUCKETS = WHOLE


class Ledger(msgspec.Struct, frozen=True):
    """`slots[bucket]` is an index into `backends`; `version` rises with every change."""

    backends: tuple[str, ...]
    slots: bytes
    version: int = 1

    @property
    def weights(self) -> dict[str, int]:
        """The number of buckets by backend, 0 included."""
        return dict(zip(self.backends, _held(self.slots, len(self.backends)), strict=True))


@lru_cache(maxsize=256)
def _held(slots: bytes, backends: int) -> tuple[int, ...]:
    """Buckets of each backend. A load of a file asks several times for each route, and a count reads 10 kB."""
    return tuple([slots.count(index) for index in range(backends)])


def salt_of(route: str) -> bytes:
    """The route's own salt; it makes experiments on two routes independent."""
    return blake2b(route.encode(), digest_size=16, person=b"crossfade.route").digest()


def _digest_of(data: bytes, salt: bytes) -> bytes:
    """Eight bytes of blake2b of the salt and the data; the same in every process.

    The salt has a fixed length, so no separator is needed. As blake2's key parameter it would cost a second
    block, which doubles the time.
    """
    return blake2b(salt + data, digest_size=8).digest()


def hash_of(key: bytes, salt: bytes) -> int:
    """The 64-bit hash of a sticky key."""
    return int.from_bytes(_digest_of(key, salt), "little")


@cache
def _common_order() -> array[int]:
    return array("H", sorted(range(BUCKETS), key=lambda b: _digest_of(b.to_bytes(2, "little"), bytes(16))))


def bucket_order(salt: bytes) -> Sequence[int]:
    """All buckets in the order in which they move on this route.

    All routes have one order, which the salt begins at another place: an order of its own would cost a route 10 000
    hashes. Experiments are independent all the same, as the salt decides which customers are in a bucket.
    """
    order = _common_order()
    start = int.from_bytes(salt[:8], "little") % BUCKETS
    return order[start:] + order[:start]


def new_ledger(weights: Mapping[str, int], salt: bytes) -> Ledger:
    """The first ledger with these weights (out of 10 000).

    All buckets start with the heaviest backend, and then move to the others. So the map equals the one that
    a rollout reaches by steps up to the same weights.
    """
    _check_weights(weights)
    heaviest = min(weights, key=lambda name: (-weights[name], name))  # the order in the file does not matter
    whole = Ledger((heaviest,), bytes(BUCKETS), version=0)
    return reweigh(whole, weights, salt)


def reweigh(ledger: Ledger, weights: Mapping[str, int], salt: bytes) -> Ledger:
    """The next version, with these weights; moves Σ|Δw|/2 buckets.

    Shrinking backends lose buckets in the salted order, and growing ones get them in that order. A backend
    that is not named has weight 0. Raises ValueError if the weights do not add up to 10 000.
    """
    _check_weights(weights)
    ledger = renamed(ledger, [n for n, held in ledger.weights.items() if held or n in weights])
    names = ledger.backends + tuple(sorted(set(weights) - set(ledger.backends)))
    held = _held(ledger.slots, len(names))
    surplus = [held[index] - weights.get(name, 0) for index, name in enumerate(names)]
    moves = any(surplus)  # without a move, as on a new route with one backend, the order is not worked out
    freed = _freed_buckets(ledger.slots, surplus, bucket_order(salt)) if moves else []
    slots = bytearray(ledger.slots)
    for index, excess in enumerate(surplus):
        wanted = max(-excess, 0)
        for bucket in freed[:wanted]:
            slots[bucket] = index
        del freed[:wanted]
    return Ledger(names, bytes(slots), ledger.version + 1)


def _freed_buckets(slots: bytes, surplus: list[int], order: Sequence[int]) -> list[int]:
    """The buckets that backends with a surplus lose, in salted order.

    The first backend loses buckets from the end of the order, the others from its beginning. So a backend
    returns first the bucket that it got last from the first backend, and weights that rise and fall back
    give the former map.
    """
    if not any(slots):  # one backend has all, as on a new route
        return list(order[BUCKETS - surplus[0] :])
    owners = bytes(map(slots.__getitem__, order))
    lost = bytearray(BUCKETS)  # 1 at each place in the order whose bucket is lost
    for owner, excess in enumerate(surplus):
        places = range(BUCKETS) if owner else range(BUCKETS - 1, -1, -1)
        held = compress(places, map(owner.__eq__, owners if owner else reversed(owners)))
        for place in islice(held, max(excess, 0)):
            lost[place] = 1
    return list(compress(order, lost))


def renamed(ledger: Ledger, names: list[str]) -> Ledger:
    """The same map with the backends listed as `names`, which must include each backend that has buckets."""
    table = bytes(names.index(name) if name in names else 0 for name in ledger.backends).ljust(256, b"\0")
    return Ledger(tuple(names), ledger.slots.translate(table), ledger.version)


def restore(former: Ledger, current: Ledger) -> Ledger:
    """The former map, bit for bit, as the version after the current one."""
    return Ledger(former.backends, former.slots, current.version + 1)


def moved(before: Ledger, after: Ledger) -> int:
    """The number of buckets whose backend differs."""
    return sum(
        before.backends[a] != after.backends[b] for a, b in zip(before.slots, after.slots, strict=True)
    )


def _check_weights(weights: Mapping[str, int]) -> None:
    if sum(weights.values()) != BUCKETS or min(weights.values(), default=-1) < 0:
        raise ValueError(f"weights must be at least 0 and add up to {BUCKETS}, not {dict(weights)}")


def moved_to(ledger: Ledger, backend: str, known: Container[str], salt: bytes) -> Ledger:
    """With the buckets of backends that are not known any more at this one."""
    weights = {name: weight for name, weight in ledger.weights.items() if name in known}
    weights[backend] = weights.get(backend, 0) + WHOLE - sum(weights.values())
    return reweigh(ledger, weights, salt)
