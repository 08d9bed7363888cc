"""The table of rate limits as one worker sees it: the memory that all workers share, and the locks.

A lock is an fcntl record lock on the memory's descriptor, one byte for each set of the table. Without it a worker that
the kernel stops between its look at a bucket and its write takes back what the others have charged since. The kernel
releases a lock when its process dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from crossfade.routing.rate import TABLE_BYTES, RateLimit, RateTable


def new_memory() -> int:
    """A descriptor of an empty table: all buckets are full. Only what is used of it takes memory."""
    fd = os.memfd_create("crossfade-rates")
    os.ftruncate(fd, TABLE_BYTES)
    return fd


class SharedRates(RateTable):
    def __init__(self, fd: int) -> None:
        super().__init__(memoryview(mmap.mmap(fd, TABLE_BYTES)))
        self.fd = fd

    def take(self, limit: RateLimit, digest: int, now: float) -> float:
        place = digest % self.sets
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, place)
        try:
            return super().take(limit, digest, now)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, place)
