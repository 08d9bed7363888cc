"""Tasks that run beside their caller, which does not wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from crossfade.control.refusal import ControlError

log = logging.getLogger("crossfade.control")

T = TypeVar("T")


class Background:
    """Holds the tasks, as the event loop itself does not; logs the exception of one that fails."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        _ = self.task(work)

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """For a caller that may stop waiting before the work ends."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(
            error, ControlError
        ):  # the caller of a command gets its refusal
            log.error("background task failed: %s", error, exc_info=error)

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def idle(self) -> None:
        """Returns when no task is left, those that tasks begin included."""
        while self.tasks:
            await asyncio.wait(self.tasks)
