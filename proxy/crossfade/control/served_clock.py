"""Served time: the seconds in which this proxy served, counted from the wall time at which its state was created.

Rule (law 14): served time only goes forward, by the monotonic clock, and by at most MAX_STEP from one reading to
the next. A stop, a suspend, a late control process and a step of the wall clock add nothing. The state keeps
served time, so it goes on from there at the next start. Wall time is only written down, and shows a gap.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from crossfade.rollout.verdict import duration

MAX_STEP = 2.0  # seconds from one reading to the next that count; several ticks, so a tick that is a little late counts
MIN_GAP = 5.0  # seconds; a shorter gap is not reported

STOPPED = "the proxy was stopped"
LATE = "the control process was stopped or late"
SET_FORWARD = "the machine was suspended, or its wall clock was set forward"
SET_BACK = "the wall clock was set back"


class ServedClock(msgspec.Struct, frozen=True):
    """`served` and `wall` time at the last reading; 0 before the first reading of a new state.

    `monotonic`: None before the first reading of this process.
    """

    served: float = 0.0
    wall: float = 0.0
    monotonic: float | None = None


class Gap(NamedTuple):
    """Seconds by which wall time went further than served time; negative if the wall clock was set back.

    `served`: the served time at which it was found.
    """

    seconds: float
    cause: str
    served: float

    def __str__(self) -> str:
        if self.seconds < 0:
            return f"{self.cause} by {duration(-self.seconds)}; holds go on by served time"
        return f"{duration(self.seconds)} did not count: {self.cause}"


def advance(clock: ServedClock, wall: float, monotonic: float) -> tuple[ServedClock, Gap | None]:
    """The clock at this reading, and the gap since the reading before, if it is worth a report."""
    if not clock.served:
        return ServedClock(wall, wall, monotonic), None
    is_first = clock.monotonic is None
    passed = 0.0 if clock.monotonic is None else max(monotonic - clock.monotonic, 0.0)
    counted = min(passed, MAX_STEP)
    after = ServedClock(clock.served + counted, wall, monotonic)
    late, stepped = passed - counted, wall - clock.wall - passed
    for seconds, cause in (
        (late, LATE),
        (stepped, STOPPED if is_first and stepped > 0 else _cause_of(stepped)),
    ):
        if abs(seconds) > MIN_GAP:
            return after, Gap(seconds, cause, after.served)
    return after, None


def _cause_of(stepped: float) -> str:
    return SET_FORWARD if stepped > 0 else SET_BACK
