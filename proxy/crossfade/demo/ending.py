"""How the demo ends before its time: Ctrl-C, a TERM, and the HUP of a terminal that is closed all do the same.

Rule: the first signal cancels the demo, and what it has started is ended. Further signals wait for that, so nothing is left behind.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from rich.console import Console

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """A context manager, in the main thread. `by`: the signal that came first, or 0. A signal that is ignored, as by nohup, stays so."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.by = 0
        self.before: dict[signal.Signals, Any] = {}
        self.running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def __enter__(self) -> Ending:
        for sign in SIGNALS:
            if signal.getsignal(sign) is not signal.SIG_IGN:
                self.before[sign] = signal.signal(sign, self._told)
        return self

    def __exit__(self, *exc: object) -> None:
        for sign, handler in self.before.items():
            signal.signal(sign, handler)

    @property
    def exit_code(self) -> int:
        """As a shell shows the end by a signal."""
        return 128 + self.by

    async def run(self, work: Coroutine[Any, Any, int]) -> int:
        """What `work` gives. The first signal cancels it, also one that came before."""
        task = asyncio.current_task()
        assert task is not None
        self.running = asyncio.get_running_loop(), task
        if self.by:
            task.cancel()
        try:
            return await work
        finally:
            self.running = None

    def _told(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.console.quiet = True  # nobody reads it: a write to a closed terminal fails
        if self.by:
            return
        self.by = number
        if self.running is not None:
            loop, task = self.running
            loop.call_soon_threadsafe(task.cancel)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Tidies up. Whoever is cancelled meanwhile is so afterwards, once."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
