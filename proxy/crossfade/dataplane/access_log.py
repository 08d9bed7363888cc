"""The access log: one line of JSON for each logged request, written outside the event loop.

Rule: the log never delays a request. A line is encoded when the exchange ends, waits in bounded memory, and
is written to the file by a separate thread. If the disk is full or the reader of a pipe is slow, lines are
lost, and every lost line is counted. Failures of a model or of the proxy are always logged, also outside the
sample.
"""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from random import random
from threading import Thread
from time import monotonic, time
from typing import TYPE_CHECKING

from crossfade.dataplane.log_file import LogFile
from crossfade.dataplane.log_line import LineWriter
from crossfade.dataplane.outcome import Outcome, is_failure

if TYPE_CHECKING:
    from crossfade.errors import RequestRefused, Stage
    from crossfade.routing.snapshot import AccessLog

HELD_LIMIT = 4 * 1024 * 1024  # bytes of lines waiting to be written, in one worker
CLOSING = 1.0  # seconds to write the last lines when the worker ends


class AccessLogger:
    """One worker's lines that wait to be written. `lost` counts lines dropped because HELD_LIMIT was reached."""

    def __init__(self, spec: AccessLog) -> None:
        self.spec = spec
        self.sample = spec.sample
        self.waiting: list[bytes] = []
        self.taken = 0  # bytes accepted since the start
        self.lost = 0
        self.lines = LineWriter(spec.query)
        self.batches: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self.file = LogFile(spec.to)
        # A daemon thread: a pipe reader that stalls for ever must not stop the worker from ending.
        self.thread = Thread(target=self.file.write_all, args=(self.batches,), name="access-log", daemon=True)
        self.thread.start()

    def wants(self, status: int, stages: tuple[Stage, ...]) -> bool:
        """Whether to log this exchange: it is in the sample, or something failed. Call it once per exchange."""
        return random() < self.sample or is_failure(status, stages)

    def exchange(self, outcome: Outcome) -> None:
        if self.has_room():
            self.add(self.lines.line(outcome, time()))

    def refusal(self, refusal: RequestRefused, client: bytes, request_id: bytes) -> None:
        """Log a request that was refused before an exchange began."""
        if (random() < self.sample or refusal.status >= 500) and self.has_room():
            self.add(self.lines.refusal(refusal, client, request_id, time()))

    def has_room(self) -> bool:
        """Whether one more line is kept. If not, it is lost, and counted here."""
        if self.taken - self.file.done <= HELD_LIMIT:
            return True
        self.lost += 1
        return False

    def add(self, line: bytes) -> None:
        self.taken += len(line)
        self.waiting.append(line)

    def flush(self) -> int:
        """Hand the waiting lines to the thread. Returns the number of lines lost since the last call."""
        if self.waiting:
            self.batches.put(self.waiting)
            self.waiting = []
        lost, self.lost = self.lost + self.file.take_lost(), 0
        return lost

    def close(self) -> int:
        """Let the thread end after its last batch. Returns the number of lines lost since the last `flush`."""
        lost = self.flush()
        self.batches.put(None)
        return lost

    async def closed(self) -> None:
        """Close, and wait at most CLOSING seconds for the last lines."""
        self.close()  # lines lost from here on are not counted
        end = monotonic() + CLOSING
        while self.thread.is_alive() and monotonic() < end:
            await asyncio.sleep(0.01)
