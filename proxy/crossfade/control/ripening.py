"""Ripe predictions: from the prediction log into the evidence of the routes, beside the loop.

Rule: a tick takes what has been read, and asks for the next portion; it never waits for the disk. Reading runs in the thread that
writes the log, behind all feedback that was accepted before, so what was accepted in time is in the portion. What was read is
given to the evidence between two ticks, never while a decision on the route is being written.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from functools import partial

from crossfade.control.background import Background
from crossfade.control.controller_state import ControllerState
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.prediction_tables import newest_until, unsigned
from crossfade.control.route_runtime import RouteRuntime
from crossfade.rollout.ripe import Portion, Ripe, Said
from crossfade.routing.snapshot import CACHED, TESTER

PORTION = 1_000  # predictions that enter the evidence in one tick
LOOKS = 1.0  # seconds between two looks at a log that had nothing ripe
SCANNED = 100_000  # places of the log that one portion looks at, of other ledger versions

log = logging.getLogger("crossfade.control")


class Ripening:
    def __init__(self, state: ControllerState, logs: PredictionLogs, background: Background) -> None:
        self.state = state
        self.logs = logs
        self.background = background
        self.found: dict[str, Portion] = {}  # by route; read, and not in the evidence yet
        self.reading: set[str] = set()
        self.quiet_until: dict[str, float] = {}  # by route; served time
        self.faults: dict[str, str] = {}  # by route: why its log cannot be read

    def look(self) -> None:
        """Give what has been read to the evidence, and read on."""
        for route in self.state.routes.values():
            if route.lock.locked() or route.name in self.reading:
                continue
            portion = self.found.pop(route.name, None)
            if portion is not None:
                route.feed(portion)
            horizon = route.config.feedback.horizon if route.config.feedback else None
            is_quiet = self.state.served < self.quiet_until.get(route.name, 0.0)
            if horizon is None or is_quiet or not route.wants_feedback:
                continue
            self.reading.add(route.name)
            self.background.spawn(self._read(route, self.state.wall - horizon))

    def fed_to(self, name: str) -> int | None:
        """The place in the log of this route up to which its evidence has come; None where no evidence asks for feedback."""
        route = self.state.routes.get(name)
        return route.fed_to if route is not None and route.wants_feedback else None

    async def _read(self, route: RouteRuntime, ripe_at: float) -> None:
        after, version = route.fed_to, route.first_version
        prediction = route.config.prediction
        threshold = prediction.decision if prediction else None
        work = partial(read_ripe, after=after, version=version, ripe_at=ripe_at, threshold=threshold)
        try:
            portion = await self.logs.read_in_order(route.name, work)
            self.faults.pop(route.name, None)
            if portion is not None and portion.upto > after:
                self.found[route.name] = portion
            else:
                self.quiet_until[route.name] = self.state.served + LOOKS
        except Exception as error:  # also a row that is damaged, which SQLite does not see
            fault = str(error) if isinstance(error, (sqlite3.Error, OSError)) else repr(error)
            if self.faults.get(route.name) != fault:
                self.faults[route.name] = fault
                log.error("the prediction log of %s cannot be read: %s", route.name, fault)
            self.quiet_until[route.name] = self.state.served + LOOKS
        finally:
            self.reading.discard(route.name)


def read_ripe(
    connection: sqlite3.Connection, after: int, version: int, ripe_at: float, threshold: float | None = None
) -> Portion:
    """Predictions behind `after` that were logged at `ripe_at` or before, of this ledger version or a later one.

    `threshold`: of the score, where the route has one; the answer says yes from there on.
    """
    upto = ripe_until(connection, after, ripe_at)
    rows = connection.execute(
        "SELECT seq, backend, answered, ledger_version, id_hash, key, score, label FROM prediction"
        " WHERE seq > ? AND seq <= ? AND ledger_version >= ? AND role NOT IN (?, ?) ORDER BY seq LIMIT ?",
        (after, upto, version, TESTER, CACHED, PORTION),
    ).fetchall()
    if len(rows) == PORTION:
        upto = rows[-1][0]
    if not rows:
        return Portion(after, upto)
    names = dict(connection.execute("SELECT id, name FROM backend").fetchall())
    between = (rows[0][0] - 1, upto)
    feedback: dict[int, dict[str, float | str]] = {}
    for seq, name, value in connection.execute(
        "SELECT seq, name, value FROM feedback WHERE seq > ? AND seq <= ?", between
    ):
        feedback.setdefault(seq, {})[name] = value
    copies: dict[int, dict[str, Said]] = {}
    for seq, backend, score, label in connection.execute(
        "SELECT seq, backend, score, label FROM copy WHERE seq > ? AND seq <= ?", between
    ):
        copies.setdefault(seq, {})[names[backend]] = _said(score, label, threshold)
    return Portion(after, upto, list(_ripe(rows, names, feedback, copies, threshold)))


def _ripe(
    rows: Iterable[tuple[int, int, int | None, int, int, int | None, float | None, str | float | None]],
    names: dict[int, str],
    feedback: dict[int, dict[str, float | str]],
    copies: dict[int, dict[str, Said]],
    threshold: float | None,
) -> Iterable[Ripe]:
    for seq, backend, answered, version, id_hash, key, score, label in rows:
        yield Ripe(
            seq,
            version,
            names[backend],
            unsigned(id_hash if key is None else key),
            key is not None,
            feedback.get(seq, {}),
            _said(score, label, threshold) if answered == backend else None,
            copies.get(seq, {}),
        )


def _said(score: float | None, label: str | float | None, threshold: float | None) -> Said:
    if threshold is not None and score is not None:
        return Said(score, score >= threshold)
    return Said(score, label)


def ripe_until(connection: sqlite3.Connection, after: int, ripe_at: float) -> int:
    """The last place, at most SCANNED behind the first one there is, whose prediction was logged at `ripe_at` or before."""
    return newest_until(connection, ripe_at, after, SCANNED)
