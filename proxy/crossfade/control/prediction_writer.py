"""Writes what workers and the observer sent into the prediction logs, beside the loop.

Rule: a tick only puts batches into the queue. They are written one after another in the writing thread; what waits meanwhile
is bounded. While a disk is full or slow they wait, and go on by themselves; those above the limit are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from crossfade.config.route import RouteConfig
from crossfade.control.background import Background
from crossfade.control.disk_thread import CLOSE_WAIT
from crossfade.control.logged_batches import MOST, Taken
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.prediction_rows import Written, add_ledger, add_rows
from crossfade.quality.logged import LoggedBatch, exchanges_in, outputs_in
from crossfade.routing.ledger import Ledger

log = logging.getLogger("crossfade.control")

Weights = Mapping[int, Mapping[str, int]]  # by ledger version


class _Task(NamedTuple):
    """What is written to one log at once."""

    route: str
    batches: Sequence[LoggedBatch]
    weights: Weights
    now: float


class PredictionWriter:
    """`rows` and `dropped` count since the start: by route, and by route and reason."""

    def __init__(self, logs: PredictionLogs, most: int = MOST) -> None:
        self.logs = logs
        self.most = most  # bytes that wait
        self.waiting: dict[str, list[LoggedBatch]] = {}  # by route
        self.size = 0
        self.weights: dict[str, dict[int, Mapping[str, int]]] = defaultdict(dict)  # not written yet, by route
        self.noted: dict[str, int] = {}  # the latest ledger version, by route
        self.rows: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.errors: dict[str, str] = {}  # why a log cannot be written now, by route
        self.background = Background()
        self.writing = False

    # ── the controller's side ─────────────────────────────────────────────────────────────────

    def note(self, route: RouteConfig, ledger: Ledger) -> None:
        """A route, and the weights that its workers get next."""
        if route.feedback is not None and self.noted.get(route.name) != ledger.version:
            self.noted[route.name] = ledger.version
            self.weights[route.name][ledger.version] = ledger.weights

    def take(self, taken: Taken, now: float) -> None:
        """`now`: wall time. Returns at once."""
        for route, n in taken.dropped.items():
            self.dropped[route, "queue"] += n
        for batch in taken.batches:
            self._queue(batch)
        if not self.writing and self.waiting:
            self.writing = True
            self.background.spawn(self._write_waiting(now))

    def _queue(self, batch: LoggedBatch) -> None:
        if self.size + batch.size > self.most:
            self.dropped[batch.route, "queue"] += batch.n
            return
        self.size += batch.size
        self.waiting.setdefault(batch.route, []).append(batch)

    # ── beside the loop ───────────────────────────────────────────────────────────────────────

    async def _write_waiting(self, now: float) -> None:
        """All that waits now, once. What cannot be written waits for the next tick."""
        try:
            for route, batches in list(self.waiting.items()):
                weights = dict(self.weights.get(route, {}))
                await self._write(_Task(route, tuple(batches), weights, now))
        finally:
            self.writing = False

    async def _write(self, task: _Task) -> None:
        route = task.route
        try:
            written = await self.logs.write(route, lambda connection: _write_rows(connection, task))
        except (sqlite3.OperationalError, OSError) as error:  # full, slow, locked: it may pass
            self._say(route, str(error))
            return
        except Exception as error:
            log.exception("rows of the prediction log of route %s cannot be written", route)
            self._say(route, repr(error))
            self.dropped[route, "error"] += sum(batch.n for batch in task.batches)
            self._forget(task)
            return
        self._forget(task)
        self.rows[route] += written.rows
        if written.unmatched:
            self.dropped[route, "unmatched"] += written.unmatched
        self._say(route, "")

    def _forget(self, task: _Task) -> None:
        """It is written."""
        waiting = self.waiting.pop(task.route)[len(task.batches) :]
        if waiting:
            self.waiting[task.route] = waiting
        self.size -= sum(batch.size for batch in task.batches)
        for version in task.weights:
            self.weights[task.route].pop(version, None)

    def _say(self, route: str, error: str) -> None:
        """When a log can no longer be written, and when it can again."""
        if error == self.errors.get(route, ""):
            return
        if error:
            self.errors[route] = error
            log.error("the prediction log of route %s cannot be written: %s", route, error)
        else:
            del self.errors[route]
            log.warning("the prediction log of route %s is written again", route)

    async def idle(self) -> None:
        """Returns when nothing is being written."""
        await self.background.idle()

    async def close(self, now: float) -> bool:
        """Write what waits, once, then close the logs. False if the disk hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT):
                await self.background.idle()
                await self._write_waiting(now)
        return await self.logs.close()


def _write_rows(connection: sqlite3.Connection, task: _Task) -> Written:
    exchanges = [each for batch in task.batches for each in exchanges_in(batch)]
    outputs = [each for batch in task.batches for each in outputs_in(batch)]
    add_ledger(connection, task.weights)
    return add_rows(connection, exchanges, outputs, task.now)
