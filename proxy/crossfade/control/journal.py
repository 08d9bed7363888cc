"""Writing decisions down: before they act where exposure rises, after where it falls (law 3).

Rule: the store is written in one thread, one transaction at a time and in the order of the decisions, so
that no fsync stops the event loop. A decision that has acted and is not on disk yet is owed: it is written
with the next transaction that succeeds, and until then `ok` is False. A decision that must be on disk first,
and cannot be written, is not decided. While one is being written, the decisions behind it wait for their
number and hash, as they depend on whether it succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from crossfade.control.background import Background
from crossfade.control.chain import first_broken, seal
from crossfade.control.pages import Page, Record, read_page
from crossfade.control.served_clock import ServedClock
from crossfade.control.store import (
    EvidenceBy,
    RouteRecord,
    Store,
    StoreError,
    batch_of,
    clock_row,
    evidence_rows,
)
from crossfade.control.views import Decision

log = logging.getLogger("crossfade.journal")

VERIFIED = 1000  # latest decisions whose chain is checked at the start

T = TypeVar("T")
Tell = Callable[[Sequence[Decision]], None]


class Entry(msgspec.Struct):
    """A decision without number and hash, with the state that it leads to; no record means the route is gone."""

    draft: Decision
    record: RouteRecord | None
    evidence: EvidenceBy = {}


class Sealed(NamedTuple):
    decision: Decision
    entry: Entry


class Journal:
    """Call `close` before the store's."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number, self.hash = store.head()
        self._verify()
        self.owed: list[Sealed] = []
        self.ok = True
        self.error = ""
        self.decided: Counter[tuple[str, str]] = Counter()  # by (route, action), since the start
        self._unsealed: list[tuple[Sequence[Entry], Tell]] = []
        self._writing_first = asyncio.Lock()
        self._transaction = asyncio.Lock()
        self._background = Background()

    def _verify(self) -> None:
        """A broken chain is logged; the proxy serves all the same."""
        broken = first_broken(self.store.rows(self.number - VERIFIED, VERIFIED), None)
        if broken is not None:
            log.error("journal hash chain broken at decision %d (tampered or corrupt)", broken)

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    async def write_first(self, entries: Sequence[Entry]) -> list[Decision] | None:
        """Returns when the decisions are on disk; None if they cannot be written: then nothing is decided.

        The caller must not be cancelled meanwhile.
        """
        async with self._writing_first:
            number, digest = self.number, self.hash
            sealed = self._seal(entries)
            written = await self._write_owed(sealed)
            if not written:
                self.number, self.hash = number, digest
            for waiting, tell in self._take_unsealed():
                self._append(waiting, tell)
        return self._count(sealed) if written else None

    def write(self, entries: Sequence[Entry], tell: Tell) -> None:
        """Record decisions that have acted. They go to disk in the background; `tell` gets them numbered."""
        if self._writing_first.locked():
            self._unsealed.append((entries, tell))
        else:
            self._append(entries, tell)

    def _take_unsealed(self) -> list[tuple[Sequence[Entry], Tell]]:
        taken, self._unsealed = self._unsealed, []
        return taken

    def _append(self, entries: Sequence[Entry], tell: Tell) -> None:
        sealed = self._seal(entries)
        self.owed += sealed
        tell(self._count(sealed))
        self._background.spawn(self._write_owed())

    def _seal(self, entries: Iterable[Entry]) -> list[Sealed]:
        out = []
        for entry in entries:
            decision = seal(entry.draft, self.number + 1, self.hash)
            self.number, self.hash = decision.id, decision.hash
            out.append(Sealed(decision, entry))
        return out

    def _count(self, sealed: Sequence[Sealed]) -> list[Decision]:
        decisions = [decision for decision, _ in sealed]
        self.decided.update((d.route, d.action) for d in decisions)
        return decisions

    def keep_counts(self, routes: Container[str]) -> None:
        """Forget how many decisions all other routes had."""
        self.decided = Counter({key: n for key, n in self.decided.items() if key[0] in routes})

    async def _write_owed(self, more: Sequence[Sealed] = ()) -> bool:
        """Write all that is owed, and `more`, in one transaction."""
        async with self._transaction:
            owed = len(self.owed)
            sealed = [*self.owed, *more]
            if not sealed:
                return True
            latest = {entry.draft.route: entry for _, entry in sealed}
            # Encoded here: evidence changes while the thread writes.
            batch = batch_of(
                [decision for decision, _ in sealed],
                [(e.record, e.evidence) for e in latest.values() if e.record is not None],
                [name for name, e in latest.items() if e.record is None],
            )
            written = await self._attempt(self.store.commit, batch)
            if written:
                del self.owed[:owed]
            return written

    async def _attempt(self, write: Callable[..., None], *what: object) -> bool:
        try:
            await asyncio.get_running_loop().run_in_executor(self.store.write_thread, write, *what)
        except StoreError as error:
            self.ok, self.error = False, str(error)
        else:
            self.ok, self.error = True, ""
        return self.ok

    def save_evidence(self, evidence: Mapping[str, EvidenceBy], clock: ServedClock) -> None:
        """In the background and without a sync; skipped while a transaction is being written.

        After a failure this is also what writes the decisions that are owed, and finds that the store works again.
        """
        if self._transaction.locked():
            return
        if self.owed:
            self._background.spawn(self._write_owed())
        else:
            self._background.spawn(self._write_evidence(evidence_rows(evidence), clock))

    async def _write_evidence(self, rows: list[tuple[bytes, str]], clock: ServedClock) -> None:
        async with self._transaction:
            await self._attempt(self.store.save_evidence, rows, clock_row(clock))

    async def idle(self) -> None:
        """Returns when nothing is being written."""
        await self._background.idle()

    async def close(self, evidence: Mapping[str, EvidenceBy], clock: ServedClock) -> None:
        """Try once more to write what is owed, and save the evidence."""
        await self.idle()
        if await self._write_owed():
            await self._write_evidence(evidence_rows(evidence), clock)
        else:
            log.error("%d decisions lost, the state cannot be written: %s", len(self.owed), self.error)

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def page(self, route: str | None, after: int | None, limit: int) -> list[Record]:
        """As they are stored: in order, those above `after`, or the last ones; fewer where they are large."""
        owed = [Record(d.id, msgspec.json.encode(d)) for d in self._owed(route) if d.id > (after or 0)]
        found = await self._read(self._read_page, route, after, limit)
        if after is not None and found.is_cut:
            return found.records
        last = found.records[-1].id if found.records else 0
        joined = found.records + [record for record in owed if record.id > last]
        return joined[-limit:] if after is None else joined[:limit]

    def _read_page(self, route: str | None, after: int | None, limit: int) -> Page:
        try:
            return read_page(self.store.reader, route, after, limit)
        except sqlite3.Error as error:
            raise StoreError(f"{self.store.name}: cannot read the journal: {error}") from error

    async def last(self, route: str, challenger: str | None = None) -> Decision | None:
        """The latest decision on the route, but for those of another challenger's rollout."""
        own = (None, challenger) if challenger else ()
        owed = [d for d in self._owed(route) if not own or d.to.get("challenger") in own]
        return owed[-1] if owed else await self._read(self.store.last, route, challenger)

    def _owed(self, route: str | None) -> list[Decision]:
        """Taken before the store is read, as they may be written meanwhile."""
        return [d for d, _ in self.owed if route in (None, d.route)]

    async def _read(self, read: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.store.read_thread, read, *arguments)
