"""One proxy for each state: an exclusive lock on a file beside the database, held for life.

Rule: the file names its holder's process, and is emptied when the holder ends in good order; so what
is found in it without a lock is the name of a proxy that died.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock; its pid, where known, is in the message."""


class StateLock:
    """Taken when made. `was_held`: the holder before did not end in good order."""

    def __init__(self, path: Path) -> None:
        """Raises LockedError, or OSError where the file cannot be made."""
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self.fd, 100, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self.fd)
            raise LockedError(f"another proxy (pid {holder}) holds {path}") from None
        self.was_held = os.fstat(self.fd).st_size > 0
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """The file stays: to unlink it would let two processes lock two files of one name."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)
