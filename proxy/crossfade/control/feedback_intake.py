"""Feedback on its way to the prediction logs: which log a row belongs to, and what is counted of it.

Rule: rows are counted when they are on disk, never before. One call of `take` is one short transaction for each log, so rows
of predictions are written between them. A disk that is full or slow refuses rows, and whoever sent them sends them again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from crossfade.config.problem import nearest
from crossfade.control import feedback_tables
from crossfade.control.background import Background
from crossfade.control.controller_state import ControllerState
from crossfade.control.feedback_tables import Stored
from crossfade.control.prediction_logs import PredictionLogs, Work
from crossfade.control.refusal import Unwritten
from crossfade.quality.feedback import Feedback, FeedbackAnswer, Limits, Outcome
from crossfade.rollout.verdict import duration
from crossfade.stats.histogram import Histogram

log = logging.getLogger("crossfade.control")

PATIENCE = 30.0  # seconds that a call waits for the disk
JOIN_EVERY = 1.0  # seconds
AHEAD = 60.0  # seconds that a sender's clock may be ahead
MOST_NAMES = 50  # of feedback of one route that have metrics of their own
OTHER = "(other)"
EXPIRED, INVALID = "expired", "invalid"  # beside the outcomes, in metrics

Row = tuple[int, Feedback]


class _Target(NamedTuple):
    """A route with feedback. `salt`: of its sticky keys."""

    limits: Limits
    salt: bytes


_Targets = dict[str, _Target]


class FeedbackIntake:
    """`counts`: rows by (route, name, outcome); `delays`: ages of predictions at their first values, by (route, name)."""

    def __init__(self, state: ControllerState, logs: PredictionLogs) -> None:
        self.state = state
        self.logs = logs
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.delays: dict[tuple[str, str], Histogram] = {}
        self.names: dict[str, set[str]] = {}
        self.early: dict[str, _EarlyRows] = {}
        self.background = Background()

    # ── rows that come ────────────────────────────────────────────────────────────────────────

    async def take(self, rows: Sequence[Row], answer: FeedbackAnswer) -> None:
        """Store the rows and add what became of them to the answer. Raises Unwritten; rows counted by then are stored."""
        alone: dict[str, list[Row]] = {}
        anywhere: list[Row] = []
        routes = self._routes()
        for number, row in rows:
            if fault := self._fault(row, routes):
                self.refuse(number, fault, answer)
            elif row.route or len(routes) == 1:
                alone.setdefault(row.route or next(iter(routes)), []).append((number, row))
            else:
                anywhere.append((number, row))
        nowhere = await self._find_routes(anywhere, list(routes), alone, answer) if anywhere else []
        for route, its_rows in alone.items():
            self._count(route, its_rows, await self._store(route, routes[route], its_rows), answer)
        if nowhere:
            await self._keep_everywhere(nowhere, routes, answer)

    def refuse(self, number: int, fault: str, answer: FeedbackAnswer) -> None:
        """Count an invalid row."""
        self.counts["", "", INVALID] += 1
        answer.refuse(number, fault)

    def _routes(self) -> _Targets:
        found = {}
        for name, route in self.state.routes.items():
            if (feedback := route.config.feedback) is not None:
                limits = Limits(feedback.horizon, feedback.correct_within)
                found[name] = _Target(limits, route.record.salt)
        return found

    def _fault(self, row: Feedback, routes: _Targets) -> str:
        if not routes:
            return "no route has `feedback` in the configuration"
        if row.at is not None and row.at > self.state.wall + AHEAD:
            return "at lies in the future; it is in seconds since the epoch"
        if not row.route or row.route in routes:
            return ""
        if row.route in self.state.routes:
            return f"route {row.route} has no `feedback` in the configuration"
        similar = nearest(row.route, routes)
        return f"no route is called {row.route}" + (f"; did you mean {similar}?" if similar else "")

    async def _find_routes(
        self, rows: list[Row], routes: list[str], alone: dict[str, list[Row]], answer: FeedbackAnswer
    ) -> list[Row]:
        """Adds rows that do not name their route to those of the route that has their prediction. Returns those of none."""
        ids = [row.request_id for _, row in rows]
        held = {route: await self._read_ids(route, ids) for route in routes}
        nowhere = []
        for number, row in rows:
            found = [route for route in routes if row.request_id in held[route]]
            if len(found) == 1:
                alone.setdefault(found[0], []).append((number, row))
            elif found:
                self.refuse(
                    number, f"this request_id was on several routes: name {' or '.join(found)}", answer
                )
            else:
                nowhere.append((number, row))
        return nowhere

    async def _read_ids(self, route: str, ids: list[bytes]) -> set[bytes]:
        try:
            found = await self.logs.read(route, lambda connection: feedback_tables.ids_in(connection, ids))
        except (sqlite3.Error, OSError) as error:
            raise Unwritten(f"the prediction log of {route} cannot be read: {error}") from None
        return found or set()

    async def _keep_everywhere(self, rows: list[Row], routes: _Targets, answer: FeedbackAnswer) -> None:
        """The log that gets the prediction takes the row."""
        stored = [await self._store(route, limits, rows, shared=True) for route, limits in routes.items()]
        for row, of_row in zip(rows, zip(*stored, strict=True), strict=True):
            places = [
                (r, s) for r, s in zip(routes, of_row, strict=True) if s.outcome is not Outcome.UNMATCHED
            ]
            route, found = places[0] if places else ("", of_row[0])
            self._count(route, [row], [found], answer)

    async def _store(
        self, route: str, target: _Target, rows: list[Row], shared: bool = False
    ) -> list[Stored]:
        feedback = [row for _, row in rows]

        def work(connection: sqlite3.Connection) -> list[Stored]:
            # The time is read in the writing thread: what is late now was late for all that was written before.
            return feedback_tables.store(connection, feedback, self.state.wall, *target, shared)

        stored = await self._write(route, work)
        if any(one.outcome is Outcome.UNMATCHED for one in stored):
            self.early.setdefault(route, _EarlyRows()).has_new = True
        return stored

    async def _write(self, route: str, work: Work[list[Stored]]) -> list[Stored]:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.logs.write(route, work)
        except TimeoutError:
            raise Unwritten(f"the disk of the prediction log is slow: no answer in {PATIENCE:g} s") from None
        except (sqlite3.Error, OSError) as error:
            raise Unwritten(f"the prediction log of {route} cannot be written: {error}") from None

    def _count(self, route: str, rows: list[Row], stored: list[Stored], answer: FeedbackAnswer) -> None:
        for (number, _), one in zip(rows, stored, strict=True):
            self._add(route, one.name, one.outcome)
            if one.outcome is Outcome.ACCEPTED:
                self._add_delay(route, one)
            answer.count(one.outcome, number, self._reason(route, one))

    def _reason(self, route: str, stored: Stored) -> str:
        """Why the row was refused; empty if it was not."""
        if stored.outcome is Outcome.CONFLICTING:
            return "another value came before, and it can no longer be corrected"
        if stored.outcome is not Outcome.LATE:
            return ""
        feedback = self.state.routes[route].config.feedback if route in self.state.routes else None
        limit = f" for {duration(feedback.horizon)} only" if feedback is not None else ""
        return f"the prediction is {duration(stored.seconds)} old, and feedback counts{limit}"

    # ── what is counted ───────────────────────────────────────────────────────────────────────

    def _add(self, route: str, name: str, outcome: str) -> None:
        self.counts[route, self._shown(route, name), outcome] += 1

    def _add_delay(self, route: str, stored: Stored) -> None:
        self.delays.setdefault((route, self._shown(route, stored.name)), Histogram()).add(
            max(stored.seconds, 0.0)
        )

    def _shown(self, route: str, name: str) -> str:
        """The first names of a route have metrics of their own: a sender may make up as many as it likes."""
        names = self.names.setdefault(route, set())
        if name in names or len(names) < MOST_NAMES:
            names.add(name)
            return name
        return OTHER

    # ── rows that came before their predictions ───────────────────────────────────────────────

    def look(self) -> None:
        """Join what waits, from time to time, beside the caller. Call it often: it costs nothing while nothing waits."""
        for route, target in self._routes().items():
            early = self.early.setdefault(route, _EarlyRows())
            if early.is_due(self.state.served):
                early.begin(self.state.served)
                self.background.spawn(self._join(route, target.limits, early))

    async def _join(self, route: str, limits: Limits, early: _EarlyRows) -> None:
        def work(connection: sqlite3.Connection) -> feedback_tables.Early:
            return feedback_tables.join_early(connection, early.seq, self.state.wall, limits)

        try:
            if await self.logs.read(route, feedback_tables.early_rows):
                done = await self.logs.write(route, work)
                early.end(done.left, done.seq)
                self._count_joined(route, done)
            else:
                early.end(0, None)
        except (sqlite3.Error, OSError) as error:
            log.warning("feedback that waits on %s is not joined: %s", route, error)
            early.end(None, early.seq)

    def _count_joined(self, route: str, done: feedback_tables.Early) -> None:
        for stored in done.joined:
            self._add(route, stored.name, stored.outcome)
            if stored.outcome is Outcome.ACCEPTED:
                self._add_delay(route, stored)
        for name in done.expired:
            self._add(route, name, EXPIRED)

    async def idle(self) -> None:
        """Returns when nothing is being joined."""
        await self.background.idle()


class _EarlyRows:
    """Of one route. `left`: rows that wait; None: not known. `seq`: the newest prediction that all of them were compared with;
    None: they are compared with all.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.seq: int | None = None
        self.looked_at = float("-inf")
        self.is_busy = False
        self.has_new = False  # rows that came since the last look began

    def is_due(self, served: float) -> bool:
        return (self.has_new or self.left != 0) and not self.is_busy and served - self.looked_at >= JOIN_EVERY

    def begin(self, served: float) -> None:
        self.is_busy, self.has_new, self.looked_at = True, False, served

    def end(self, left: int | None, seq: int | None) -> None:
        """While none waits, predictions come that nobody looks at: the next row is compared with all."""
        self.is_busy, self.left = False, left
        self.seq = seq if left else None
