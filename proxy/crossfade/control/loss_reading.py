"""Ripe labels of the champion, from the prediction log to the watch of its loss, beside the loop.

Rule: a tick takes what has been read and asks for the next portion; it never waits for the disk.
"""

from __future__ import annotations

import logging
import sqlite3
from functools import partial

from crossfade.control.background import Background
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.ripening import read_ripe
from crossfade.control.route_drift import RouteDrift
from crossfade.control.route_runtime import RouteRuntime
from crossfade.quality.loss_watch import Labelled, Looks, LossWatch
from crossfade.quality.monitor import Alarm
from crossfade.rollout.ripe import Portion

log = logging.getLogger("crossfade.drift")

QUIET = 2.0  # seconds between two looks at a log that had nothing ripe
LABEL = "label"  # the name of the feedback


class LossReading:
    """Of one route. `watch` is saved with what else is known of its drift."""

    def __init__(self, logs: PredictionLogs, background: Background) -> None:
        self.logs = logs
        self.background = background
        self.watch = LossWatch()
        self.units: set[int] = set()  # that have counted in the present window
        self.found: Portion | None = None
        self.is_reading = False
        self.quiet_until = 0.0  # wall time
        self.fault = ""

    def look(self, route: RouteRuntime, drift: RouteDrift, now: float) -> Alarm | None:
        """`now`: wall time."""
        feedback, given = route.config.feedback, drift.comparison
        if feedback is None or given is None:
            return None
        loss, n = drift.loss_of(drift.champion)
        if not self.watch.is_of(drift.champion, loss, n):
            self.watch.begin(drift.champion, loss, n)
        slot = int(now // given.window)
        if slot != self.watch.slot:
            self.units = set()
        alarm = self.watch.look(drift.monitor, slot, Looks(drift.config.loss_tolerance, given.limit), now)
        self._feed()
        if not self.is_reading and now >= self.quiet_until:
            self.is_reading = True
            self.background.spawn(self._read(route, now - feedback.horizon, now))
        return alarm

    def _feed(self) -> None:
        portion, self.found = self.found, None
        if portion is None or portion.after != self.watch.fed_to:
            return
        self.watch.fed_to = portion.upto
        for row in portion.rows:
            truth = row.feedback.get(LABEL)
            if row.backend == self.watch.backend and row.said is not None and truth is not None:
                self.watch.add(Labelled(row.unit, row.said.score, row.said.label, truth), self.units)

    async def _read(self, route: RouteRuntime, ripe_at: float, now: float) -> None:
        prediction, after = route.config.prediction, self.watch.fed_to
        threshold = prediction.decision if prediction else None
        work = partial(read_ripe, after=after, version=0, ripe_at=ripe_at, threshold=threshold)
        try:
            found = await self.logs.read_in_order(route.name, work)
            self.fault = ""
            if found is not None and found.upto > after:
                self.found = found
            else:
                self.quiet_until = now + QUIET
        except (sqlite3.Error, OSError) as error:
            if str(error) != self.fault:
                log.error("the prediction log of %s cannot be read: %s", route.name, error)
            self.fault, self.quiet_until = str(error), now + QUIET
        finally:
            self.is_reading = False
