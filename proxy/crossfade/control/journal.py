"""Writing decisions down: before they act where exposure rises, after where it falls (law 3).

Rule: what has been decided and could not be written is kept, in order, and written with the next thing
that can be; until then `ok` is False. What must be on disk first and cannot be is not decided.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from crossfade.control.chain import first_broken, seal
from crossfade.control.store import EvidenceBy, RouteRecord, Store, StoreError
from crossfade.control.views import Decision

log = logging.getLogger("crossfade.journal")

VERIFIED = 1000  # latest decisions whose chain is gone through at the start


class Entry(msgspec.Struct):
    """A decision yet to be numbered, with the state that it leads to; no record means the route is gone."""

    draft: Decision
    record: RouteRecord | None
    evidence: EvidenceBy = {}


class Journal:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.number, self.hash = store.head()
        self.verify()
        self.owed: list[tuple[Decision, Entry]] = []
        self.ok = True
        self.error = ""
        self.decided: Counter[tuple[str, str]] = Counter()  # by (route, action), since the proxy began

    def verify(self) -> None:
        """A broken chain is logged; the proxy serves all the same."""
        broken = first_broken(self.store.rows(self.number - VERIFIED, VERIFIED), None)
        if broken is not None:
            log.error("journal hash chain broken at decision %d (tampered or corrupt)", broken)

    def write_first(self, entries: Sequence[Entry]) -> list[Decision] | None:
        """On disk when this returns; None when it cannot be, and then nothing has been decided."""
        head = self.number, self.hash
        sealed = self.link(entries)
        if self.flush():
            return self.count(sealed)
        del self.owed[len(self.owed) - len(sealed) :]
        self.number, self.hash = head
        return None

    def write(self, entries: Sequence[Entry]) -> list[Decision]:
        """Decided already; on disk now, or as soon as it can be."""
        sealed = self.link(entries)
        self.flush()
        return self.count(sealed)

    def link(self, entries: Iterable[Entry]) -> list[Decision]:
        out = []
        for entry in entries:
            decision = seal(entry.draft, self.number + 1, self.hash)
            self.number, self.hash = decision.id, decision.hash
            self.owed.append((decision, entry))
            out.append(decision)
        return out

    def flush(self) -> bool:
        """Write all that is owed, in one transaction."""
        latest = {entry.draft.route: entry for _, entry in self.owed}
        try:
            self.store.commit(
                [decision for decision, _ in self.owed],
                [(e.record, e.evidence) for e in latest.values() if e.record is not None],
                [name for name, e in latest.items() if e.record is None],
            )
        except StoreError as error:
            self.ok, self.error = False, str(error)
            return False
        self.owed.clear()
        self.ok, self.error = True, ""
        return True

    def save_evidence(self, evidence: dict[str, EvidenceBy]) -> None:
        """Once in a while, without a sync; also how a store that failed is found to be well again."""
        if self.owed:
            self.flush()
            return
        try:
            self.store.save_evidence(evidence)
        except StoreError as error:
            self.ok, self.error = False, str(error)
        else:
            self.ok, self.error = True, ""

    def count(self, decisions: list[Decision]) -> list[Decision]:
        self.decided.update((d.route, d.action) for d in decisions)
        return decisions

    def decisions(self, route: str | None, after: int, limit: int) -> list[Decision]:
        """In order, those above `after`; what is not on disk yet is among them."""
        found = self.store.decisions(route, after, limit)
        owed = [d for d, _ in self.owed if d.id > after and route in (None, d.route)]
        return (found + owed)[:limit]

    def newest(self, route: str | None, limit: int) -> list[Decision]:
        """In order, the last ones."""
        found = self.store.newest(route, limit)
        owed = [d for d, _ in self.owed if route in (None, d.route)]
        return (found + owed)[-limit:]

    def last(self, route: str, challenger: str | None = None) -> Decision | None:
        """The latest decision on the route, but for those of another challenger's rollout."""
        own = (None, challenger) if challenger else ()
        owed = [d for d, _ in self.owed if d.route == route and (not own or d.to.get("challenger") in own)]
        return owed[-1] if owed else self.store.last(route, challenger)
