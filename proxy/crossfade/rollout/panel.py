"""The panel: for each key of a stratum, how many requests and events it had, so that keys can be the unit of a test.

Rule: who is in the panel depends on the hash of the key only. It has at most LIMIT keys; above it, and where a worker had
no room, every second key is left out from then on, with all that was counted of it. The panel itself never enters the
journal: a verdict needs only its sums (stats.keyed), which are kept in the stratum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from crossfade.stats.counts import KEY_BITS, Cell
from crossfade.stats.keyed import KeyedEvents, KeyedSplit, Sizes

LIMIT = 2048  # keys of both sides together; they are saved each second


class KeyCounts(msgspec.Struct, array_like=True):
    """Requests and events, by kind, of one key on one side."""

    n: int = 0
    events: dict[str, int] = msgspec.field(default_factory=dict)


class Side(msgspec.Struct):
    """Sums over the keys of one side; `events` by kind."""

    sizes: Sizes = msgspec.field(default_factory=Sizes)
    events: dict[str, KeyedEvents] = msgspec.field(default_factory=dict)

    def add(self, counted: KeyCounts) -> None:
        """One key."""
        self.sizes.merge(Sizes(int(counted.n > 0), counted.n, counted.n * counted.n))
        for kind, x in counted.events.items():
            self.events.setdefault(kind, KeyedEvents()).merge(KeyedEvents(x, x * x, x * counted.n))

    def merge(self, other: Side) -> None:
        self.sizes.merge(other.sizes)
        for kind, found in other.events.items():
            self.events.setdefault(kind, KeyedEvents()).merge(found)


class KeySums(msgspec.Struct):
    """Of one stratum: of its keys, or of its requests without a key."""

    challenger: Side = msgspec.field(default_factory=Side)
    champion: Side = msgspec.field(default_factory=Side)

    def split(self, share: float, kind: str) -> KeyedSplit:
        ours, theirs = self.challenger, self.champion
        return KeyedSplit(
            share,
            ours.sizes,
            theirs.sizes,
            ours.events.get(kind) or KeyedEvents(),
            theirs.events.get(kind) or KeyedEvents(),
        )

    def merge(self, other: KeySums) -> None:
        self.challenger.merge(other.challenger)
        self.champion.merge(other.champion)


class Panel(msgspec.Struct):
    """The keys of one stratum, each on its side."""

    halvings: int = 0
    challenger: dict[int, KeyCounts] = msgspec.field(default_factory=dict)
    champion: dict[int, KeyCounts] = msgspec.field(default_factory=dict)

    def add(self, cell: Cell, here: bool, kinds: Iterable[str], sums: KeySums) -> None:
        """Count a cell of one side. `sums` are changed with the panel."""
        if cell.keys.halvings > self.halvings:
            self._halve_to(cell.keys.halvings, sums)
        side = self.challenger if here else self.champion
        total = sums.challenger if here else sums.champion
        for key, n in Counter(self._members(cell.keys.hashes)).items():
            _add_requests(_counts_of(side, key), n, total)
        for kind in kinds:
            events = cell.events.get(kind)
            for key in self._members(events.keys) if events else ():
                _add_event(_counts_of(side, key), kind, total)
        if len(self.challenger) + len(self.champion) > LIMIT:
            self._halve_to(self.halvings + 1, sums)

    def _members(self, keys: list[int]) -> list[int]:
        shift = KEY_BITS - self.halvings
        return [key for key in keys if not key >> shift] if self.halvings else keys

    def _halve_to(self, halvings: int, sums: KeySums) -> None:
        """Every second key leaves, once or more often, and the sums are made again from those that stay."""
        self.halvings = halvings
        shift = KEY_BITS - halvings
        for name in ("challenger", "champion"):
            side = {key: counted for key, counted in getattr(self, name).items() if not key >> shift}
            setattr(self, name, side)
            total = Side()
            for counted in side.values():
                total.add(counted)
            setattr(sums, name, total)


def _counts_of(side: dict[int, KeyCounts], key: int) -> KeyCounts:
    found = side.get(key)
    if found is None:
        side[key] = found = KeyCounts()
    return found


def _add_requests(counted: KeyCounts, n: int, total: Side) -> None:
    before, sizes = counted.n, total.sizes
    if not before:
        sizes.keys += 1
    counted.n = before + n
    sizes.n += n
    sizes.nn += (2 * before + n) * n
    for kind, x in counted.events.items():
        total.events[kind].xn += x * n


def _add_event(counted: KeyCounts, kind: str, total: Side) -> None:
    x = counted.events.get(kind, 0)
    counted.events[kind] = x + 1
    events = total.events.get(kind)
    if events is None:
        total.events[kind] = events = KeyedEvents()
    events.x += 1
    events.xx += 2 * x + 1
    events.xn += counted.n
