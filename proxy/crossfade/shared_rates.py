"""The table of rate limits as one worker sees it: the memory that all workers share, with a lock for each set of the table.

Without a lock a worker that the kernel stops between its look at a bucket and its write takes back what the others have
charged since.
"""

from __future__ import annotations

import mmap

from crossfade import shared_memory
from crossfade.routing.rate import TABLE_BYTES, RateLimit, RateTable


def new_memory() -> int:
    """A descriptor of an empty table: all buckets are full."""
    return shared_memory.new_memory("crossfade-rates", TABLE_BYTES)


class SharedRates(RateTable):
    def __init__(self, fd: int) -> None:
        super().__init__(memoryview(mmap.mmap(fd, TABLE_BYTES)))
        self.fd = fd

    def take(self, limit: RateLimit, digest: int, now: float) -> float:
        place = digest % self.sets
        shared_memory.lock(self.fd, place)
        try:
            return super().take(limit, digest, now)
        finally:
            shared_memory.unlock(self.fd, place)
