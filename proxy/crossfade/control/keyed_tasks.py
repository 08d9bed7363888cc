"""Tasks that go on for ever, one for each thing attended to, until it is attended to no more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class KeyedTasks(Generic[T]):
    """`ending` holds what is on its way out as well, so that it is neither collected half-way nor left behind."""

    def __init__(self) -> None:
        self.tasks: dict[T, asyncio.Task[None]] = {}
        self.ending: set[asyncio.Task[None]] = set()

    def begin(self, to: T, work: Coroutine[Any, Any, None]) -> None:
        self.tasks[to] = asyncio.get_running_loop().create_task(work)

    def end(self, to: T) -> None:
        task = self.tasks.pop(to)
        task.cancel()
        self.see_out(task)

    def see_out(self, task: asyncio.Task[None]) -> None:
        """Wait for it at the close, should it not have ended by then."""
        self.ending.add(task)
        task.add_done_callback(self.ending.discard)

    async def close(self) -> None:
        for to in list(self.tasks):
            self.end(to)
        await asyncio.gather(*self.ending, return_exceptions=True)
