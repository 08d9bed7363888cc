"""The services of a worker: event loop, time, request ids, and tasks with a strong reference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from email.utils import formatdate
from itertools import chain, count, repeat
from time import monotonic, time
from typing import Any

LAST_DIGITS = [b"%03x" % n for n in range(4096)]


def block_of_ids(prefix: bytes, number: int) -> Iterator[bytes]:
    """4 096 ids with a common beginning: formatting each alone takes three times as long."""
    return map((b"%b%013x" % (prefix, number)).__add__, LAST_DIGITS)


class Runtime:
    """`now`: time of the last sweep of deadlines. `hurrying`: a drain with a time limit is in progress.

    `date`: the Date field of that time, for answers without one (RFC 9110 section 6.6.1).
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.second = 0
        self.read_clock()
        self.draining = False
        self.hurrying = False
        self.tasks: set[asyncio.Task[None]] = set()
        prefix, blocks = os.urandom(8).hex().encode(), count(int.from_bytes(os.urandom(4), "big"))
        self.ids: Iterator[bytes] = chain.from_iterable(map(block_of_ids, repeat(prefix), blocks))

    def read_clock(self) -> None:
        self.now = monotonic()
        second = int(time())
        if second != self.second:
            self.second = second
            self.date = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()

    def new_id(self) -> bytes:
        return next(self.ids)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a slow path. The set holds a reference, so that the task is not garbage-collected."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
