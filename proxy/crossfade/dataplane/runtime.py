"""What everything in a worker may ask for: the loop, the time, ids, and tasks that are kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from itertools import chain, count, repeat
from time import monotonic
from typing import Any

LAST_DIGITS = [b"%03x" % n for n in range(4096)]


def block_of_ids(prefix: bytes, number: int) -> Iterator[bytes]:
    """Ids with all but their last digits in common: to spell each by itself takes three times as long."""
    return map((b"%b%013x" % (prefix, number)).__add__, LAST_DIGITS)


class Runtime:
    """`now` is when deadlines were last swept; `hurrying`: draining, and somebody waits for the end of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = monotonic()
        self.draining = False
        self.hurrying = False
        self.tasks: set[asyncio.Task[None]] = set()
        prefix, blocks = os.urandom(8).hex().encode(), count(int.from_bytes(os.urandom(4), "big"))
        self.ids: Iterator[bytes] = chain.from_iterable(map(block_of_ids, repeat(prefix), blocks))

    def new_id(self) -> bytes:
        return next(self.ids)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a slow path; the set keeps it from being collected half-way."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
