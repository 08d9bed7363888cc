"""The history of all routes: sampled beside the health loop every ten seconds, written and read in a thread of its own.

Rule: no tick waits for it. What the disk does not take is kept in memory for ten minutes, and then it is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from crossfade.coalescing import end_of
from crossfade.control.background import Background
from crossfade.control.controller_state import ControllerState
from crossfade.control.database import IN_MEMORY
from crossfade.control.disk_thread import DiskThread
from crossfade.control.history_file import FAULTS, HistoryFile
from crossfade.control.history_points import FINEST
from crossfade.control.history_sampling import Differences, Taken, Taking
from crossfade.control.refusal import Unreadable

log = logging.getLogger("crossfade.history")

LOOK = 0.5  # seconds between two looks at the clock
READ_WAIT = 20.0  # seconds

T = TypeVar("T")


def history_path(state: str) -> str:
    """Beside the database with this path."""
    return IN_MEMORY if state == IN_MEMORY else f"{state}.history"


class History:
    """`state`: where the samples come from; `now`: wall time."""

    def __init__(self, state: ControllerState, path: str, now: Callable[[], float]) -> None:
        self.state = state
        self.file = HistoryFile(path)
        self.now = now
        self.thread = DiskThread("crossfade-history")
        self.taking, self.differences = Taking(), Differences()
        self.since = now()  # the last sample
        self.at = _begin(self.since)  # of the present ten seconds
        self.background = Background()

    def begin(self) -> None:
        """In a running loop."""
        self.background.spawn(self._run())

    async def _run(self) -> None:
        while True:
            await end_of(LOOK)
            self.look()

    def look(self) -> None:
        """Take a sample where ten seconds are over."""
        now = self.now()
        if _begin(now) != self.at:
            self._sample(now)

    def _sample(self, now: float) -> None:
        """The clock may have been set meanwhile; then nobody knows how long it was."""
        seconds = now - self.since
        if not 0 < seconds <= 2 * FINEST.step:
            seconds = float(FINEST.step)
        self.thread.submit(self._add, self.taking.take(self.state, self.at, seconds))
        self.since, self.at = now, _begin(now)

    def _add(self, taken: Taken) -> None:
        try:
            self.file.add(taken.at, self.differences.points(taken))
        except Exception:
            log.exception("a sample of the history is lost")

    async def read(self, work: Callable[[HistoryFile], T]) -> T:
        """Run `work` in the thread, behind all samples so far. Raises Unreadable, also where the disk hangs."""
        try:
            async with asyncio.timeout(READ_WAIT):
                return await asyncio.wrap_future(self.thread.submit(self._read, work))
        except TimeoutError:
            raise Unreadable("the history cannot be read: the disk does not answer") from None

    def _read(self, work: Callable[[HistoryFile], T]) -> T:
        try:
            return work(self.file)
        except FAULTS as error:
            self.file.fail(error)
            raise Unreadable(f"the history cannot be read: {error}") from error

    async def close(self) -> bool:
        """With what came since the last sample. False if the disk hangs."""
        self.background.cancel()
        await self.background.idle()
        if self.now() > self.since:
            self._sample(self.now())
        self.thread.submit(self.file.close)
        return await asyncio.to_thread(self.thread.end)


def _begin(now: float) -> int:
    return int(now) - int(now) % FINEST.step
