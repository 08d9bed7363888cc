"""The table of places as one process sees it: the memory, the locks, and the bells that wake other workers.

There is a lock for the table and one for each slot. It is held for a few microseconds, never over a wait.

A bell is a datagram socket without a name in the file system; the table has its number, which nobody can guess. It is
only a hint: workers that have requests waiting also look at the table at each sweep.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
from collections.abc import Iterator

from crossfade import shared_memory
from crossfade.routing.ledger import hash_of
from crossfade.routing.places import TABLE_BYTES, PlaceTable

TABLE_LOCK = 0  # its byte; that of slot n is n + 1
SALT = b"places"


def new_memory() -> int:
    """A descriptor of an empty table."""
    return shared_memory.new_memory("crossfade-places", TABLE_BYTES)


def is_table(fd: int) -> bool:
    """Whether this version of the proxy can share the table behind a descriptor of another one."""
    try:
        if os.fstat(fd).st_size != TABLE_BYTES:
            return False
        return PlaceTable(memoryview(mmap.mmap(fd, TABLE_BYTES))).is_valid
    except (OSError, ValueError):
        return False


def digest_of(name: str) -> int:
    return hash_of(name.encode(), SALT) >> 1 or 1


def _address(bell: int) -> bytes:
    return b"\0crossfade-%016x" % bell


class SharedPlaces:
    """`fd` -1: a table of this process alone. `workers`: how many are to share it."""

    def __init__(self, fd: int = -1, workers: int = 1) -> None:
        self.fd = fd
        self.workers = workers
        self.table = PlaceTable(memoryview(mmap.mmap(fd, TABLE_BYTES)))
        self.row = 0
        self.bell: socket.socket | None = None
        self.ringer: socket.socket | None = None
        if fd < 0:
            self.table.join(1, 0, 0)

    def join(self, started: int) -> None:
        """Take a row. `started`: the start time of this process. Raises OSError, RuntimeError."""
        number = int.from_bytes(os.urandom(8), "big") >> 1
        self.bell = _datagrams()
        self.bell.bind(_address(number))
        with self.locked(TABLE_LOCK):
            self.row = self.table.join(os.getpid(), started, number)

    @contextlib.contextmanager
    def locked(self, byte: int) -> Iterator[None]:
        self.lock(byte)
        try:
            yield
        finally:
            self.unlock(byte)

    def lock(self, byte: int) -> None:
        if self.fd >= 0:
            shared_memory.lock(self.fd, byte)

    def unlock(self, byte: int) -> None:
        if self.fd >= 0:
            shared_memory.unlock(self.fd, byte)

    def enter(self, name: str) -> int:
        """The slot of the backend with this name. Raises RuntimeError if there is none left."""
        with self.locked(TABLE_LOCK):
            return self.table.enter(digest_of(name), self.row)

    @property
    def sharers(self) -> int:
        """Workers that share the places: more than usual while others take over from them."""
        return max(self.workers, len(self.table.processes()))

    # ── bells ─────────────────────────────────────────────────────────────────────────────────

    def ring(self) -> None:
        """Wake the workers that the table has named since the last call, each once. Never waits."""
        rows, self.table.woken = set(self.table.woken), []
        rows.discard(self.row if self.bell is not None or self.fd < 0 else -1)
        for row in rows:
            self.wake(row)

    def wake(self, row: int) -> None:
        if self.ringer is None:
            self.ringer = _datagrams()
        with contextlib.suppress(OSError):  # it is gone, or it has been woken and not yet looked
            self.ringer.sendto(b"\0", _address(self.table.bell(row)))

    def silence(self) -> None:
        """Take what has come through our bell."""
        if self.bell is not None:
            with contextlib.suppress(OSError):
                while self.bell.recv(1):
                    pass

    # ── workers that are gone ─────────────────────────────────────────────────────────────────

    def clear(self, row: int, pid: int) -> None:
        """Its process is gone: its places are free. Workers with requests that wait for them are woken."""
        with self.locked(TABLE_LOCK):
            if (row, pid) not in [(r, p) for r, p, _ in self.table.processes()]:
                return
            for slot in self.table.slots_of(row):
                with self.locked(slot + 1):
                    self.table.clear(slot, row)
                    self.table.woken += self.table.waiting_rows(slot)
            self.table.remove(row)
        self.ring()

    def close(self) -> None:
        for sock in (self.bell, self.ringer):
            if sock is not None:
                sock.close()


def _datagrams() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock
