"""Endless tasks by key: begun and ended one by one, or all at the close."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class KeyedTasks(Generic[T]):
    """`ending`: cancelled tasks that have not ended yet; without a reference the loop could drop them."""

    def __init__(self) -> None:
        self.tasks: dict[T, asyncio.Task[None]] = {}
        self.ending: set[asyncio.Task[None]] = set()

    def begin(self, key: T, work: Coroutine[Any, Any, None]) -> None:
        self.tasks[key] = asyncio.get_running_loop().create_task(work)

    def end(self, key: T) -> None:
        task = self.tasks.pop(key)
        task.cancel()
        self.ending.add(task)
        task.add_done_callback(self.ending.discard)

    async def close(self) -> None:
        for key in list(self.tasks):
            self.end(key)
        await asyncio.gather(*self.ending, return_exceptions=True)
