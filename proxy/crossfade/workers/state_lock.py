"""One proxy for each state: an exclusive lock on a file beside the database, held until the process ends.

The file names the process that holds the lock, and its workers. A holder that ends together with its
workers empties the file. So a file that is not empty and not locked names a proxy that died, and
workers that may still serve.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable

MAX_BYTES = 4096  # of the file: the pids of 256 workers, and of as many of the proxy before


class LockedError(Exception):
    """The lock is not to be had; the message is for the operator."""


class StateLock:
    """Taken when made. `left_behind`: the workers of a holder before that may still serve."""

    def __init__(self, database: str) -> None:
        """Raises LockedError."""
        self.path = f"{database}.lock"
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LockedError(f"{database}: cannot make the lock file: {error.strerror}") from error
        found = os.pread(self.fd, MAX_BYTES, 0).decode("ascii", "replace").split()
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.fd)
            holder = f"another proxy (pid {found[0] if found else 'unknown'}) holds {self.path}"
            raise LockedError(f"{database}: {holder}; two proxies cannot share one state") from None
        self.left_behind = [int(word) for word in found[1:] if word.isdecimal()]
        self.write(self.left_behind)

    def write(self, workers: Iterable[int]) -> None:
        """Name the holder and its workers. The file is never empty meanwhile: workers would take that for the end."""
        data = " ".join(str(pid) for pid in (os.getpid(), *workers)).encode() + b"\n"
        os.pwrite(self.fd, data, 0)
        os.ftruncate(self.fd, len(data))

    def leave(self) -> None:
        """Release the lock, and leave the workers named in the file to the next holder."""
        os.close(self.fd)
        self.fd = -1

    def release(self) -> None:
        """The workers have ended too. Does nothing after `leave`.

        The file stays: to unlink it would let two processes lock two files of one name.
        """
        if self.fd >= 0:
            os.ftruncate(self.fd, 0)
            self.leave()
