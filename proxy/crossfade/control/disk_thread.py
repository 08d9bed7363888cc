"""The thread in which a disk is read or written, so that no slow disk stops the event loop.

Rule: a disk that hangs must not keep the process from ending. The threads of `ThreadPoolExecutor` do: Python waits for
them at the exit. This thread is a daemon, and whoever closes waits for a limited time only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_WAIT = 5.0  # seconds that an exit waits for a disk


class DiskThread(Executor):
    """One task at a time, in order. The thread begins with the first task."""

    def __init__(self, name: str) -> None:
        self.tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = Thread(target=self._run, name=name, daemon=True)

    def submit(self, task: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = task(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.tasks.put(run)
        if self.thread.ident is None:
            self.thread.start()
        return future

    def _run(self) -> None:
        while (task := self.tasks.get()) is not None:
            task()
            del task  # and with it what it holds, which may be needed no more before the next one comes

    def end(self, seconds: float = CLOSE_WAIT) -> bool:
        """End behind the tasks so far. False if they have not ended in this time; then they are left behind."""
        if self.thread.ident is None:
            return True
        self.tasks.put(None)
        self.thread.join(seconds)
        return not self.thread.is_alive()
