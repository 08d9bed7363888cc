"""The services of a worker: event loop, time, request ids, and tasks with a strong reference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from email.utils import formatdate
from time import monotonic, time
from typing import Any, Final

LAST_DIGITS: Final = [b"%03x" % n for n in range(4096)]


def wall_time_of(moment: float) -> float:
    """Seconds since the epoch at this monotonic time. A worker that is kept from running between the two looks errs to the early
    side, so that no request is said to have begun after its client had the answer."""
    return time() - (monotonic() - moment)


class Runtime:
    """`now`: time of the last sweep of deadlines. `draining`: answers close their connections, for the proxy will end.

    `hurrying`: a drain with a time limit is in progress.
    `date`: the Date field of that time, for answers without one (RFC 9110 section 6.6.1).
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.second = 0
        self.read_clock()
        self.draining = False
        self.hurrying = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.id_prefix, self.id_block = os.urandom(8).hex().encode(), int.from_bytes(os.urandom(4), "big")
        self.id_beginning, self.ids_made = b"", len(LAST_DIGITS)

    def read_clock(self) -> None:
        self.now = monotonic()
        second = int(time())
        if second != self.second:
            self.second = second
            self.date = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()

    def new_id(self) -> bytes:
        """32 hexadecimal digits. 4 096 ids have the same beginning: formatting each alone takes three times as long."""
        if self.ids_made >= len(LAST_DIGITS):
            self.id_block += 1
            self.id_beginning, self.ids_made = b"%b%013x" % (self.id_prefix, self.id_block), 0
        made = self.ids_made
        self.ids_made = made + 1
        return self.id_beginning + LAST_DIGITS[made]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a slow path. The set holds a reference, so that the task is not garbage-collected."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
