"""How many replicas a backend should have: a pure function of what the proxy has measured. `docs/deploying-models.md` has the rules in words.

Law: within `least` and `most`; at a constant load at most one change up or down, and none after it; more load never gives fewer replicas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A replica is taken away only where the others then have this much of their target at most: the gap between up and down.
KEEP = 0.8
# By latency: one more above the target, one less below this share of it. How latency falls with replicas nobody knows before.
EASY = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """`in_flight`: requests for each replica, `p99`: seconds; one of them, or both. Times in seconds.

    `up_after`, `down_after`: more, or fewer, must have been right for so long. `cool_down`: nothing changes for so long after a change.
    """

    least: int
    most: int
    in_flight: float | None = None
    p99: float | None = None
    up_after: float = 10.0
    down_after: float = 60.0
    cool_down: float = 30.0

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be followed."""
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"{self.least}..{self.most} replicas: least must be 1 or more, and not above most"
            )
        if self.in_flight is None and self.p99 is None:
            raise ValueError("a target needs requests in flight, or a p99, or both")
        if any(value is not None and not 0 < value < math.inf for value in (self.in_flight, self.p99)):
            raise ValueError("a target must be above 0")
        if not all(0 <= value < math.inf for value in (self.up_after, self.down_after, self.cool_down)):
            raise ValueError("a time must not be negative")


@dataclass(frozen=True, slots=True)
class Reading:
    """`at` in seconds. `in_flight`: requests of the backend in flight or waiting. `p99`: seconds; None without any answer."""

    at: float
    in_flight: float
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    replicas: int
    reason: str


def right_number(target: Target, replicas: int, reading: Reading) -> int:
    """By one reading alone: the larger of what the two targets ask for, within the limits."""
    asked = []
    if target.in_flight is not None:
        enough = math.ceil(reading.in_flight / target.in_flight)
        easy = math.ceil(reading.in_flight / (KEEP * target.in_flight))
        asked.append(enough if enough > replicas else min(easy, replicas))
    if target.p99 is not None:
        # Nothing answered is easy only where nothing was asked: a model that hangs answers nothing either.
        p99 = reading.p99 if reading.p99 is not None else target.p99 if reading.in_flight else 0.0
        asked.append(replicas + (p99 > target.p99) - (p99 < EASY * target.p99))
    return min(max(*asked, target.least), target.most)


def decide(
    target: Target, replicas: int, readings: Sequence[Reading], changed_at: float, now: float
) -> Change | None:
    """None: as it is. `readings`: since the last change, the oldest first; `changed_at`: when that change was complete.

    Up to the least that was right all the time of `up_after`, down to the most that was right all the time of `down_after`.
    """
    if not target.least <= replicas <= target.most:
        return Change(min(max(replicas, target.least), target.most), "outside of least and most")
    if now - changed_at < target.cool_down or not readings:
        return None
    right = [(reading.at, right_number(target, replicas, reading)) for reading in readings]
    up = _all_of(right, now - target.up_after)
    if up and min(up) > replicas:
        return Change(min(up), _reason(readings[-1], f"too much for {replicas} for {target.up_after:g} s"))
    down = _all_of(right, now - target.down_after)
    if down and max(down) < replicas:
        return Change(max(down), _reason(readings[-1], f"little for {replicas} for {target.down_after:g} s"))
    return None


def _all_of(right: Sequence[tuple[float, int]], since: float) -> list[int]:
    """Those since then, with the one that held when that time began; none if that is not known."""
    if right[0][0] > since:
        return []
    before = [number for at, number in right if at <= since]
    return [before[-1], *(number for at, number in right if at > since)]


def _reason(reading: Reading, why: str) -> str:
    p99 = "" if reading.p99 is None else f", p99 {reading.p99 * 1000:.0f} ms"
    return f"{reading.in_flight:g} requests in flight{p99}: {why}"
