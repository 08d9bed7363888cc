"""Writing decisions down: before they act where exposure rises, after where it falls (law 3).

Rule: the store is written in one thread, one transaction at a time, in the order of the decisions; no fsync stops the
event loop. A decision that has acted and is not on disk yet is owed: it is written with the next transaction that succeeds,
and until then `ok` is False; it is spooled beside the database, so that it survives a crash (`spool`, `recovery`). One that
must be on disk first, and cannot be written, is not decided; meanwhile the decisions behind it wait for number and hash.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from crossfade.control.background import Background
from crossfade.control.chain import first_broken, seal
from crossfade.control.database import IN_MEMORY, StoreError
from crossfade.control.disk_thread import CLOSE_WAIT, DiskThread
from crossfade.control.journal_entry import Attempt, Entry, Sealed
from crossfade.control.kept_messages import MessageRows
from crossfade.control.pages import Record, record_of
from crossfade.control.pruning import is_apart
from crossfade.control.route_record import EvidenceBy
from crossfade.control.served_clock import ServedClock
from crossfade.control.spool import Spool, Spooled
from crossfade.control.store import Batch, Store, batch_of, clock_row, evidence_rows
from crossfade.control.views import Decision

log = logging.getLogger("crossfade.journal")

VERIFIED = 1000  # latest decisions whose chain is checked at the start
SPOOL_AFTER = 1.0  # seconds after which a decision in force that the database has not taken is spooled
HANGS_AFTER = 2.0  # seconds after which a write hangs: until it ends, no exposure rises
PRUNE_INTERVAL = 30.0  # seconds between two deletions of old decisions
GIVE_UP_AFTER = 5.0  # seconds after which a rise that hangs in the disk is not made
ANSWER_WAIT = 5.0  # seconds that an operator waits for a decision in force to be on disk

T = TypeVar("T")
Tell = Callable[[Sequence[Decision]], None]


class Journal:
    """Call `close` before the store's."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.spool = None if store.name == IN_MEMORY else Spool(f"{store.name}.spool")
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
        self.in_force: list[Entry] = []  # that have acted and are not in the database
        self._spooled: list[Entry] = []
        self._prune_at = 0.0
        self._settling: set[asyncio.Task[None]] = set()
        self._spooling = asyncio.Lock()
        self._spool_thread = DiskThread("crossfade-spool")

    def _verify(self) -> None:
        """A broken chain is logged; the proxy serves all the same."""
        anchor = self.store.anchor()
        after = max(self.number - VERIFIED, anchor.id)
        previous = anchor.hash if after == anchor.id else None
        broken = first_broken(self.store.rows(after, VERIFIED), previous)
        if broken is not None:
            log.error("journal hash chain broken at decision %d (tampered or corrupt)", broken)

    def unwritten(self) -> list[Spooled]:
        """What only the spool has, in order."""
        found = self.spool.read() if self.spool is not None else []
        return [item for item in found if not self.store.has(item.decision)]

    def recover(self, entries: Sequence[Entry]) -> None:
        """Decisions in force that a proxy before could only spool. Call it before the first snapshot; it blocks."""
        self.in_force += entries
        self._spooled += entries
        self.owed += self._seal(entries)
        try:
            if self.owed:
                self.store.commit(self._batch(self.owed))
                self.owed, self.in_force, self._spooled = [], [], []
                log.warning("%d decisions of the spool are in the journal now", len(entries))
            if self.spool is not None:
                self.spool.open()
                if not self.in_force:
                    self.spool.clear()
        except StoreError as error:
            self.ok, self.error = False, str(error)
            log.error(
                "%d decisions of the spool are in force and not in the journal yet: %s", len(entries), error
            )
        except OSError as error:
            log.error("%s cannot be written: %s", self.spool and self.spool.path, error.strerror)

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    async def write_first(
        self, entries: Sequence[Entry], undo: Sequence[Entry] | None = None
    ) -> list[Decision] | None:
        """Returns when the decisions are on disk; None if they cannot be written: then nothing is decided.

        `undo`: leads back to the state before. With it, a disk that hangs is given up after a while; if it takes the
        decisions all the same, `undo` is written behind them. The caller must not be cancelled meanwhile.
        """
        attempt = Attempt(entries, undo or ())
        writing = self._background.task(self._write_first(attempt))
        await asyncio.wait([writing], timeout=None if undo is None else GIVE_UP_AFTER)
        if not writing.done():
            attempt.is_given_up = True
            return None
        return writing.result()

    async def _write_first(self, attempt: Attempt) -> list[Decision] | None:
        async with self._writing_first:
            written, sealed = False, list[Sealed]()
            if await self._is_free() and not attempt.is_given_up:
                number, digest = self.number, self.hash
                sealed = self._seal(attempt.entries)
                written = await self._write_owed(sealed)
                if not written:
                    self.number, self.hash = number, digest
            if written and attempt.is_given_up:
                self.in_force += attempt.undo
                self._append(attempt.undo, lambda _: None)
                self._background.spawn(self._settle())
            for waiting, tell in self._take_unsealed():
                self._append(waiting, tell)
        return self._count(sealed) if written else None

    async def _is_free(self) -> bool:
        """Whether no write hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HANGS_AFTER), self._transaction:
                return True
        return False

    def write(self, entries: Sequence[Entry], tell: Tell) -> None:
        """Record decisions that have acted. They go to disk in the background; `tell` gets them numbered."""
        self.in_force += entries
        if self._writing_first.locked():
            self._unsealed.append((entries, tell))
        else:
            self._append(entries, tell)
        settling = self._background.task(self._settle())
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)

    def _take_unsealed(self) -> list[tuple[Sequence[Entry], Tell]]:
        taken, self._unsealed = self._unsealed, []
        return taken

    def _append(self, entries: Sequence[Entry], tell: Tell) -> None:
        sealed = self._seal(entries)
        self.owed += sealed
        tell(self._count(sealed))

    async def _settle(self) -> None:
        """Returns when what is in force is on disk: in the database, or in the spool if the database does not take it."""
        writing = self._background.task(self._write_when_sealed())
        await asyncio.wait([writing], timeout=SPOOL_AFTER)
        await self._spool_rest()
        if not self._are_spooled:
            await asyncio.wait([writing])

    async def _write_when_sealed(self) -> None:
        async with self._writing_first:
            pass
        await self._write_owed()

    async def _spool_rest(self) -> None:
        """Spool what is in force and not in the database; empty the spool if nothing is."""
        if self.spool is None:
            return
        async with self._spooling:
            new = [entry for entry in self.in_force if not _holds(self._spooled, entry)]
            lines = [Spooled(entry.draft, entry.record) for entry in new]
            try:
                if lines:
                    await self._in_spool_thread(self.spool.add, lines)
                elif self._spooled and not self.in_force:
                    await self._in_spool_thread(self.spool.clear)
                    self._spooled = []
            except OSError as error:
                log.error("%s cannot be written: %s", self.spool.path, error.strerror or error)
            else:
                self._spooled += new

    async def _in_spool_thread(self, write: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._spool_thread, write, *arguments)

    @property
    def _are_spooled(self) -> bool:
        """Whether the spool has what is in force and not in the database."""
        return all(_holds(self._spooled, entry) for entry in self.in_force)

    async def settled(self) -> str:
        """Returns when what is in force is on disk, or after a while. What is not in the database, "" if all is."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=ANSWER_WAIT)
        if not self.in_force:
            return ""
        why = self.error or "the disk is slow"
        if self._are_spooled:
            assert self.spool is not None
            return (
                f"in force, not durable yet: it is in {self.spool.path} until the state can be written: {why}"
            )
        return f"in force, but on no disk: a crash would forget it: {why}"

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
            written = await self._attempt(self.store.commit, self._batch(sealed))
            if written:
                done = [entry for _, entry in self.owed[:owed]]
                self.in_force = [entry for entry in self.in_force if not _holds(done, entry)]
                del self.owed[:owed]
        if written and self._spooled:
            self._background.spawn(self._spool_rest())
        return written

    def _batch(self, sealed: Sequence[Sealed]) -> Batch:
        """Encoded before the thread writes: evidence changes meanwhile."""
        latest = {entry.draft.route: entry for _, entry in sealed if entry.is_of_route}
        first, drained = sealed[0].decision, [e.drained for _, e in sealed if e.drained is not None]
        retrainings = [e.retrainings for _, e in sealed if e.retrainings is not None]
        return batch_of(
            [decision for decision, _ in sealed],
            [(e.record, e.evidence) for e in latest.values() if e.record is not None],
            [name for name, e in latest.items() if e.record is None],
            (first.id - 1, first.previous_hash),
            drained[-1] if drained else None,
        )._replace(retrainings=retrainings[-1] if retrainings else None)

    async def _attempt(self, write: Callable[..., None], *what: object) -> bool:
        writing = asyncio.get_running_loop().run_in_executor(self.store.write_thread, write, *what)
        await asyncio.wait([writing], timeout=HANGS_AFTER)
        if not writing.done():
            self.ok, self.error = False, f"{self.store.name}: the disk does not answer"
        try:
            await writing
        except StoreError as error:
            self.ok, self.error = False, str(error)
        else:
            self.ok, self.error = True, ""
        return self.ok

    @property
    def is_lost(self) -> bool:
        """Whether the files of the state were deleted or changed underneath."""
        return bool(self.store.lost)

    def save_evidence(self, evidence: Mapping[str, EvidenceBy], clock: ServedClock) -> None:
        """In the background and without a sync; skipped while a transaction is being written.

        After a failure this is also what writes the decisions that are owed, and finds that the store works again.
        """
        if self._transaction.locked():
            return
        if self.owed:
            self._background.spawn(self._write_owed())
        else:
            self._background.spawn(
                self._write(self.store.save_evidence, evidence_rows(evidence), clock_row(clock))
            )

    def save_comparisons(self, comparisons: bytes) -> None:
        """In the background; skipped while a transaction is being written."""
        if not self._transaction.locked() and not self.owed:
            self._background.spawn(self._write(self.store.save_comparisons, comparisons))

    def save_retrainings(self, retrainings: str) -> bool:
        """In the background; False while a transaction is being written."""
        if self._transaction.locked() or self.owed:
            return False
        self._background.spawn(self._write(self.store.save_retrainings, retrainings))
        return True

    async def save_messages(self, messages: MessageRows) -> bool:
        """Whether they are written."""
        return await self._write(self.store.save_messages, messages)

    def prune(self, wall: float, keep: float | None) -> None:
        """Delete what is older than `keep` seconds, in the background and from time to time."""
        if keep is None or not self.ok or self._transaction.locked() or monotonic() < self._prune_at:
            return
        self._prune_at = monotonic() + PRUNE_INTERVAL
        self._background.spawn(self._write(self.store.prune, wall - keep))

    def look(self) -> None:
        """Find whether the files are still there, in the background."""
        if not self._transaction.locked():
            self._background.spawn(self._write(self.store.look))

    async def _write(self, write: Callable[..., None], *what: object) -> bool:
        """Of what is no decision. Whether it is written."""
        async with self._transaction:
            return await self._attempt(write, *what)

    async def idle(self) -> None:
        """Returns when nothing is being written."""
        await self._background.idle()

    async def close(self, evidence: Mapping[str, EvidenceBy], clock: ServedClock) -> None:
        """Try once more to write what is owed, and save the evidence. A disk that hangs is not waited for without end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT):
                await self.idle()
                if await self._write_owed():
                    await self._write(self.store.save_evidence, evidence_rows(evidence), clock_row(clock))
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT):
                await self._spool_rest()
        self._report_unwritten()
        self._spool_thread.end(0)

    def _report_unwritten(self) -> None:
        lost = [entry for entry in self.in_force if not _holds(self._spooled, entry)]
        if lost:
            log.error("%d decisions lost, the state cannot be written: %s", len(lost), self.error)
        elif self.spool is not None and self.in_force:
            path = self.spool.path
            log.error(
                "%d decisions are not in the journal; the next start writes them from %s",
                len(self.in_force),
                path,
            )

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def page(
        self, route: str | None, after: int | None, limit: int, brief: bool = False
    ) -> list[Record]:
        """As they are stored: in order, those above `after`, or the last ones; fewer where they are large.

        `brief`: without what the evaluation was given.
        """
        owed = [record_of(d, brief) for d in self._owed(route) if d.id > (after or 0)]
        found = await self._read(self.store.page, route, after, limit, brief)
        if after is not None and found.is_cut:
            return found.records
        last = found.records[-1].id if found.records else 0
        joined = found.records + [record for record in owed if record.id > last]
        return joined[-limit:] if after is None else joined[:limit]

    async def last(
        self, route: str, challenger: str | None = None, action: str | None = None
    ) -> Decision | None:
        """The latest decision on where the route stands, but for those of another challenger's rollout. `action`: of this one."""
        own = (None, challenger) if challenger else ()
        owed = [d for d in self._owed(route) if not is_apart(d.to)]
        owed = [d for d in owed if not own or d.to.get("challenger") in own]
        owed = [d for d in owed if action in (None, d.action)]
        return owed[-1] if owed else await self._read(self.store.last, route, challenger, action)

    def _owed(self, route: str | None) -> list[Decision]:
        """Taken before the store is read, as they may be written meanwhile."""
        return [d for d, _ in self.owed if route in (None, d.route)]

    async def _read(self, read: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.store.read_thread, read, *arguments)


def _holds(entries: Iterable[Entry], entry: Entry) -> bool:
    """This entry itself: equal ones are others."""
    return any(each is entry for each in entries)
