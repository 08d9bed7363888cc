"""Places in flight: the limit `max_in_flight` of each backend, exact over all workers, in one table that they share.

A place is held by a worker. The places that all workers hold are never more than the limit (but where a reload has
just lowered it), and a worker has no more requests in flight than it holds places. A worker's row of a backend says how
many places it holds, how many of its requests wait for one, and since when the first of them waits. A free place goes
to the request that has waited longest, so no free place and no waiting request stay together.

A row is written by any worker, so each method says that its caller holds the lock of the slot. Far from the limit no
lock is wanted: there a worker holds a share of the places in advance (FAR), and looks at the table only when it needs
more. The worker that needs more recalls the shares of the others. From then on each holds what it uses (EXACT).

A worker that dies leaves its row. The control process clears it when the worker's process, and so its connections,
is gone. `now` is in nanoseconds of a clock that the workers share.
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = 0x43465F504C4331  # of this layout
ROWS: Final = 1024  # workers that live at a time
SLOTS: Final = 2048  # backends
_TOP: Final = 1  # rows in use are below it
_PIDS: Final = 64
_STARTS: Final = _PIDS + ROWS
_BELLS: Final = _STARTS + ROWS
_DIGESTS: Final = _BELLS + ROWS
_SLOTS_AT: Final = _DIGESTS + SLOTS
_WAITING: Final = ROWS
_SINCE: Final = 2 * ROWS
_MODE: Final = 3 * ROWS
_SLOT_CELLS: Final = 4 * ROWS
TABLE_BYTES: Final = 8 * (_SLOTS_AT + SLOTS * _SLOT_CELLS)  # of which only what is used takes memory

ABSENT: Final = 0  # the worker does not have this backend
EXACT: Final = 1
FAR: Final = 2
RECALLED: Final = 3  # FAR, and to become EXACT

LEAST_SHARE: Final = 16  # a smaller one is not worth a recall: the worker stays EXACT


def share_of(limit: int, workers: int) -> int:
    """What each worker holds in advance: together three quarters of the limit, so that the first to need more has them."""
    share = limit * 3 // (4 * max(workers, 1))
    return share if share >= LEAST_SHARE else 0


class PlaceTable:
    """`memory`: TABLE_BYTES that are zero at first. A slot is a backend's, by a digest of its name."""

    def __init__(self, memory: memoryview) -> None:
        self.cells = memory.cast("q")
        self.woken: list[int] = []  # rows that have something to look at; the caller rings their bells
        if not self.cells[0]:
            self.cells[0] = MAGIC

    @property
    def is_valid(self) -> bool:
        """Whether the memory has this layout."""
        return self.cells[0] == MAGIC

    # ── workers: the caller holds the lock of the table ───────────────────────────────────────

    def join(self, pid: int, started: int, bell: int) -> int:
        """A row for this process. `bell`: how it is woken. Raises RuntimeError if there is none left."""
        cells = self.cells
        for row in range(ROWS):
            if not cells[_PIDS + row]:
                cells[_STARTS + row], cells[_BELLS + row] = started, bell
                cells[_PIDS + row] = pid
                cells[_TOP] = max(cells[_TOP], row + 1)
                return row
        raise RuntimeError(f"more than {ROWS} workers")

    def processes(self) -> list[tuple[int, int, int]]:
        """(row, pid, start) of all rows in use."""
        cells = self.cells
        rows = range(cells[_TOP])
        return [(row, cells[_PIDS + row], cells[_STARTS + row]) for row in rows if cells[_PIDS + row]]

    def bell(self, row: int) -> int:
        return self.cells[_BELLS + row]

    def slots_of(self, row: int) -> list[int]:
        """The slots in which this row is not empty."""
        cells = self.cells
        used = [slot for slot, digest in enumerate(self.digests()) if digest]
        return [slot for slot in used if cells[_SLOTS_AT + slot * _SLOT_CELLS + _MODE + row] != ABSENT]

    def remove(self, row: int) -> None:
        """The process is gone, and its row is cleared in each slot."""
        cells = self.cells
        cells[_PIDS + row] = 0
        while cells[_TOP] and not cells[_PIDS + cells[_TOP] - 1]:
            cells[_TOP] -= 1

    def digests(self) -> list[int]:
        return self.cells[_DIGESTS:_SLOTS_AT].tolist()

    def enter(self, digest: int, row: int) -> int:
        """The slot of the backend with this digest. Raises RuntimeError if there is none left."""
        known = self.digests()
        slot = known.index(digest) if digest in known else self._free_slot(known)
        self.cells[_DIGESTS + slot] = digest
        self.cells[_SLOTS_AT + slot * _SLOT_CELLS + _MODE + row] = EXACT
        return slot

    def _free_slot(self, known: list[int]) -> int:
        if 0 in known:
            return known.index(0)
        for slot in range(SLOTS):
            if not any(self.modes(slot)):
                return slot
        raise RuntimeError(f"more than {SLOTS} backends")

    # ── one backend: the caller holds the lock of the slot ────────────────────────────────────

    def clear(self, slot: int, row: int) -> None:
        """The worker has this backend no more."""
        at = _SLOTS_AT + slot * _SLOT_CELLS + row
        for field in (0, _WAITING, _SINCE, _MODE):
            self.cells[at + field] = 0

    def take(self, slot: int, row: int, limit: int) -> bool:
        """One more place for this row, unless all are taken. Those that wait come first."""
        self.hand_out(slot, limit)
        if self.taken(slot) >= limit:
            return False
        self.cells[_SLOTS_AT + slot * _SLOT_CELLS + row] += 1
        return True

    def announce(self, slot: int, row: int, most: int) -> bool:
        """One more request of this row will wait, unless `most` do already."""
        if self.waiting(slot) >= most:
            return False
        self.cells[_SLOTS_AT + slot * _SLOT_CELLS + _WAITING + row] += 1
        return True

    def settle(self, slot: int, row: int, known: int, used: int, waiting: int, since: int, limit: int) -> int:
        """Say what this worker uses and who waits there; then free places go to those that have waited longest.

        `known`: what this worker knows that it holds. What was handed to it since then it keeps, as far as its requests
        wait for it. Returns what it now holds. `since`: of the first that waits.
        """
        cells, at = self.cells, _SLOTS_AT + slot * _SLOT_CELLS
        held = used + min(max(cells[at + row] - known, 0), waiting)
        cells[at + row] = held
        cells[at + _WAITING + row] = waiting - (held - used)
        cells[at + _SINCE + row] = since
        self.hand_out(slot, limit)
        return cells[at + row]

    def hand_out(self, slot: int, limit: int) -> None:
        """Free places go to the requests that have waited longest."""
        cells, at = self.cells, _SLOTS_AT + slot * _SLOT_CELLS
        top = cells[_TOP]
        waits = cells[at + _WAITING : at + _WAITING + top].tolist()
        if not any(waits):
            return
        free = limit - sum(cells[at : at + top].tolist())
        while free > 0:
            first = min(
                (row for row in range(top) if waits[row]),
                key=cells[at + _SINCE : at + _SINCE + top].tolist().__getitem__,
                default=-1,
            )
            if first < 0:
                break
            cells[at + first] += (
                1  # before any other cell: a death here leaves a place too few, never one too many
            )
            waits[first] -= 1
            cells[at + _WAITING + first] = waits[first]
            free -= 1
            self.woken.append(first)

    def held(self, slot: int, row: int) -> int:
        return self.cells[_SLOTS_AT + slot * _SLOT_CELLS + row]

    def taken(self, slot: int) -> int:
        """The places that all workers hold."""
        at = _SLOTS_AT + slot * _SLOT_CELLS
        return sum(self.cells[at : at + self.cells[_TOP]].tolist())

    def waiting(self, slot: int) -> int:
        """The requests that wait for a place in all workers."""
        at = _SLOTS_AT + slot * _SLOT_CELLS + _WAITING
        return sum(self.cells[at : at + self.cells[_TOP]].tolist())

    def waiting_rows(self, slot: int) -> list[int]:
        at = _SLOTS_AT + slot * _SLOT_CELLS + _WAITING
        return [row for row, n in enumerate(self.cells[at : at + self.cells[_TOP]].tolist()) if n]

    # ── shares in advance ─────────────────────────────────────────────────────────────────────

    def modes(self, slot: int) -> list[int]:
        at = _SLOTS_AT + slot * _SLOT_CELLS + _MODE
        return self.cells[at : at + self.cells[_TOP]].tolist()

    def mode(self, slot: int, row: int) -> int:
        return self.cells[_SLOTS_AT + slot * _SLOT_CELLS + _MODE + row]

    def go_far(self, slot: int, row: int, used: int, share: int, limit: int) -> bool:
        """Hold this share from now on, where half of the limit stays free. Returns whether it is so."""
        at = _SLOTS_AT + slot * _SLOT_CELLS
        others = self.taken(slot) - self.cells[at + row]
        modes = self.modes(slot)
        exact = others - sum(self.held(slot, r) for r, m in enumerate(modes) if m >= FAR and r != row)
        if (
            used * 2 > share
            or (exact + used) * 2 > limit
            or (others + share) * 4 > limit * 3
            or RECALLED in modes
            or self.waiting(slot)
        ):
            return False
        self.cells[at + row] = share
        self.cells[at + _MODE + row] = FAR
        return True

    def end_far(self, slot: int, row: int, used: int) -> None:
        """Hold what is used. Who waits for these places looks again."""
        at = _SLOTS_AT + slot * _SLOT_CELLS
        self.cells[at + row] = used
        self.cells[at + _MODE + row] = EXACT
        self.woken += self.waiting_rows(slot)

    def recall(self, slot: int) -> None:
        """Each row that is FAR is to become EXACT."""
        at = _SLOTS_AT + slot * _SLOT_CELLS + _MODE
        for row, mode in enumerate(self.modes(slot)):
            if mode == FAR:
                self.cells[at + row] = RECALLED
                self.woken.append(row)

    def has_far(self, slot: int) -> bool:
        """Whether another worker may hold more than it uses."""
        return max(self.modes(slot), default=EXACT) >= FAR
