"""Writes what workers and the observer sent into the prediction logs, and prunes them, beside the loop.

Rule: a tick only puts batches into the queue. They are written one after another in the writing thread; what waits meanwhile
is bounded. While a disk is full or slow they wait, and go on by themselves; those above the limit are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from crossfade.config.route import RouteConfig
from crossfade.control.background import Background
from crossfade.control.disk_thread import CLOSE_WAIT
from crossfade.control.logged_batches import MOST, Taken
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.prediction_retention import Retention, prune
from crossfade.control.prediction_rows import Written, add_ledger, add_rows
from crossfade.control.views import PredictionLogsView
from crossfade.quality.logged import LoggedBatch, exchanges_in, outputs_in
from crossfade.routing.ledger import Ledger

log = logging.getLogger("crossfade.control")

PRUNE_EVERY = 1.0  # seconds
PORTION = 5_000  # rows that are deleted at once, or twice as many as came since the last time

Weights = Mapping[int, Mapping[str, int]]  # by ledger version


class _Task(NamedTuple):
    """What is written to one log at once."""

    route: str
    batches: Sequence[LoggedBatch]
    weights: Weights
    now: float


class PredictionWriter:
    """`rows` and `dropped` count since the start: by route, and by route and reason. `sizes`: bytes on disk."""

    def __init__(self, logs: PredictionLogs, most: int = MOST) -> None:
        self.logs = logs
        self.most = most  # bytes that wait
        self.waiting: dict[str, list[LoggedBatch]] = {}  # by route
        self.size = 0
        self.weights: dict[str, dict[int, Mapping[str, int]]] = defaultdict(dict)  # not written yet, by route
        self.noted: dict[str, int] = {}  # the latest ledger version, by route
        self.retentions: dict[str, Retention] = {}
        self.fed_to: Callable[[str], int | None] = lambda route: None  # of the evidence, as `prune` has it
        self.rows: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.sizes: dict[str, int] = {}
        self.errors: dict[str, str] = {}  # why a log cannot be written now, by route
        self.unpruned: set[str] = set()  # routes whose log takes rows, and could not be pruned the last time
        self.pruned_at = 0.0
        self.rows_then: Counter[str] = Counter()  # when it was pruned last
        self.background = Background()
        self.is_writing = False

    # ── the controller's side ─────────────────────────────────────────────────────────────────

    def use(self, routes: Iterable[RouteConfig], came_from: Mapping[str, str] = {}) -> None:
        """All routes, as they are from now on. `came_from`: as `ReconciledRoute` has it; by route, itself where it says nothing.

        A route without a record begins with the first version of the ledger again. So a log that is left of an earlier one must
        not be read as its own.
        """
        before, self.retentions = self.retentions, {}
        for route in routes:
            if route.feedback is None:
                continue
            former = came_from.get(route.name, route.name)
            if former != route.name:
                self.logs.set_aside(route.name)
            elif route.name not in before:
                former = route.renamed_from or ""
            if former not in ("", route.name):
                self.logs.rename(former, route.name)
            found = route.feedback
            self.retentions[route.name] = Retention(found.horizon, found.keep, found.max)

    def note(self, route: str, ledger: Ledger) -> None:
        """The weights that the workers of a route get next."""
        if route in self.retentions and self.noted.get(route) != ledger.version:
            self.noted[route] = ledger.version
            self.weights[route][ledger.version] = ledger.weights

    def take(self, taken: Taken, now: float) -> None:
        """`now`: wall time. Returns at once."""
        for route, n in taken.dropped.items():
            self.dropped[route, "queue"] += n
        for batch in taken.batches:
            self._queue(batch)
        due = abs(now - self.pruned_at) >= PRUNE_EVERY and bool(self.retentions)
        if not self.is_writing and (self.waiting or due):
            self.is_writing = True
            self.background.spawn(self._work(now, due))

    def _queue(self, batch: LoggedBatch) -> None:
        if self.size + batch.size > self.most:
            self.dropped[batch.route, "queue"] += batch.n
            return
        self.size += batch.size
        self.waiting.setdefault(batch.route, []).append(batch)

    # ── beside the loop ───────────────────────────────────────────────────────────────────────

    async def _work(self, now: float, prunes: bool) -> None:
        try:
            await self._write_waiting(now)
            if prunes:
                self.pruned_at = now
                for route, retention in list(self.retentions.items()):
                    await self._prune(route, retention, now)
        finally:
            self.is_writing = False

    async def _write_waiting(self, now: float) -> None:
        """All that waits now, once. What cannot be written waits for the next tick."""
        for route, batches in list(self.waiting.items()):
            weights = dict(self.weights.get(route, {}))
            await self._write(_Task(route, tuple(batches), weights, now))

    async def _write(self, task: _Task) -> None:
        route = task.route
        try:
            written = await self.logs.write(route, lambda connection: _write_rows(connection, task))
        except (sqlite3.OperationalError, OSError) as error:  # full, slow, locked: it may pass
            self.unpruned.discard(route)
            self._say(route, str(error))
            return
        except Exception as error:  # damaged, or not to be read: other rows may do
            self.unpruned.discard(route)
            self._say(route, str(error) or repr(error))
            self.dropped[route, "error"] += sum(batch.n for batch in task.batches)
            self._forget(task)
            return
        self._forget(task)
        self.rows[route] += written.rows
        if written.unmatched:
            self.dropped[route, "unmatched"] += written.unmatched
        if route not in self.unpruned:  # else the error is still there
            self._say(route, "")

    def _forget(self, task: _Task) -> None:
        """It is written."""
        waiting = self.waiting.pop(task.route)[len(task.batches) :]
        if waiting:
            self.waiting[task.route] = waiting
        self.size -= sum(batch.size for batch in task.batches)
        for version in task.weights:
            self.weights[task.route].pop(version, None)

    async def _prune(self, route: str, retention: Retention, now: float) -> None:
        """More at once where more comes, so that a log does not outgrow its limit."""
        portion = max(PORTION, 2 * (self.rows[route] - self.rows_then[route]))
        self.rows_then[route] = self.rows[route]
        fed_to = self.fed_to(route)
        try:
            pruned = await self.logs.write(
                route, lambda connection: prune(connection, retention, now, portion, fed_to)
            )
        except (sqlite3.Error, OSError) as error:
            if route not in self.errors:
                self.unpruned.add(route)
            self._say(route, str(error))
            return
        if route in self.unpruned:
            self.unpruned.remove(route)
            self._say(route, "")
        self.sizes[route] = pruned.file
        if pruned.more:
            self.pruned_at = 0.0
        if pruned.unripe:
            if not self.dropped[route, "size"]:
                log.warning(
                    "the prediction log of route %s is as large as `feedback: {max: …}` allows before its predictions are as "
                    "old as the horizon: feedback for the oldest is lost", route,
                )  # fmt: skip
            self.dropped[route, "size"] += pruned.unripe

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

    def view(self) -> PredictionLogsView:
        routes = self.retentions
        return PredictionLogsView(
            {route: self.rows[route] for route in routes},
            dict(self.dropped),
            {route: self.sizes[route] for route in routes if route in self.sizes},
            {route: self.errors.get(route, "") for route in routes},
        )

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
