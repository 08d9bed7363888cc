"""One proxy for each state: an exclusive lock on a file beside the database, held for life.

Rule: the file names its holder's process and that one's workers, and is emptied when the holder ends
with them; so what is found in it without a lock is a proxy that is gone, and workers that may serve on.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

MOST = 4096  # bytes in the file: 256 workers' pids, and as many of the proxy before


class LockedError(Exception):
    """Another process holds the lock; its pid, where known, is in the message."""


class StateLock:
    """Taken when made. `left_behind`: workers that the holder before left to whoever comes next."""

    def __init__(self, path: Path) -> None:
        """Raises LockedError, or OSError where the file cannot be made."""
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        found = os.pread(self.fd, MOST, 0).decode("ascii", "replace").split()
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.fd)
            raise LockedError(
                f"another proxy (pid {found[0] if found else 'unknown'}) holds {path}"
            ) from None
        self.left_behind = [int(word) for word in found[1:] if word.isdecimal()]
        self.write(self.left_behind)

    def write(self, workers: Iterable[int]) -> None:
        """Name the holder, and its workers. The file is never empty in between: that would tell them to leave."""
        data = " ".join(str(pid) for pid in (os.getpid(), *workers)).encode() + b"\n"
        os.pwrite(self.fd, data, 0)
        os.ftruncate(self.fd, len(data))

    def leave(self) -> None:
        """Let go of the lock, and leave the workers to the next holder."""
        os.close(self.fd)

    def release(self) -> None:
        """The file stays: to unlink it would let two processes lock two files of one name."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)
