"""What other tools do with the same traffic, in the simplest form, for a whole rollout that keeps its schedule.

A z-test at every look, Mann-Whitney on intervals of a minute (as Kayenta's judge), and counters of intervals above a limit
(as Flagger and Argo Rollouts). Each looks at errors and at the p99, if the rollout of the world has checks on them.
Limits are those of the world's checks; for a comparison, twice the usual share of errors or 1.25 times the usual p99.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from crossfade.config.model import RolloutConfig
from crossfade.rollout.machine import Step
from crossfade.rollout.plan import Check
from crossfade.rollout.strategy import expand
from crossfade.scale import WHOLE
from loadtests.rollouts import SETTINGS, START
from loadtests.traffic import Bools, Floats, Position, Requests, Traffic, World

INTERVAL, LOOK = 60, 10  # seconds
Z = 2.326348  # one-sided 1 %, two-sided 2 %
FEWEST = 10  # intervals before Mann-Whitney, and requests before the z-test
FLAGGER_THRESHOLD = 5  # failed intervals of a rollout that end it
ARGO_FAILURE_LIMIT = 3  # failed intervals of a step that do not yet end it
NAIVE, KAYENTA, FLAGGER, ARGO = (
    "naive z, every look",
    "Mann-Whitney",
    "Flagger-like",
    "Argo-like",
)
RIVALS = (NAIVE, KAYENTA, FLAGGER, ARGO)


class Abort(NamedTuple):
    """`requests`: the challenger's until then."""

    at: float
    requests: int


class Known(NamedTuple):
    """Requests in the order in which their outcomes became known."""

    at: Floats
    here: Bools
    bad: Bools
    seconds: Floats


class Usual(NamedTuple):
    """The champion's values before the rollout."""

    errors: float
    p99: float


class Rivals:
    """All rivals in one world. `aborts`: of each that aborted."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        config = RolloutConfig.model_validate(SETTINGS | world.settings)
        self.plan = expand(config, world.scored > 0)
        holds = sum(step.hold for step in self.plan.steps)
        self.traffic = Traffic(world, rng, START + holds)
        self.metrics = {check.metric for check in self.plan.checks} & {"error_rate", "latency"}
        self.aborts: dict[str, Abort] = {}
        self.requests = self.failed_intervals = 0
        self.usual = self.before()
        self.limits = [limits_of(check, self.usual) for check in self.plan.checks]

    def before(self) -> Usual:
        seconds = max(INTERVAL * 10, int(2000 / self.rate_now()))
        requests = self.traffic.draw(START - seconds, START, Position(0.0, 0.0, START, 0.0))
        return Usual(float(requests.bad.mean()), float(np.quantile(requests.seconds, 0.99)))

    def rate_now(self) -> float:
        rate = self.traffic.world.rate
        return float(rate(np.array([float(START)]))[0]) if callable(rate) else rate

    def run(self) -> dict[str, Abort]:
        now, before = START, 0.0
        for step in self.plan.steps:
            self.run_step(now, step, before)
            now, before = now + int(step.hold), step.weight / WHOLE
        return self.aborts

    def run_step(self, begin: int, step: Step, before: float) -> None:
        """Evidence is that of the step, as each tool begins anew with a weight."""
        position = Position(step.weight / WHOLE, before, begin, step.hold)
        sums, intervals, failed = np.zeros((2, 3)), [], 0
        waiting: list[Requests] = []
        for start in range(begin, begin + int(step.hold), INTERVAL):
            waiting.append(self.traffic.draw(start, start + INTERVAL, position))
            known = known_between(waiting, start, start + INTERVAL)
            waiting = waiting[-1:]
            self.requests += int(known.here.sum())
            end = start + INTERVAL
            self.naive(known, start, sums)
            intervals.append([self.values(known, side) for side in (True, False)])
            over = any(is_over(intervals[-1][0], limit) for limit in self.limits)
            failed += over
            self.failed_intervals += over
            if self.failed_intervals >= FLAGGER_THRESHOLD:
                self.abort(FLAGGER, end)
            if failed > ARGO_FAILURE_LIMIT:
                self.abort(ARGO, end)
            due = (
                len(intervals) % max(1, len(intervals) // 50) == 0
            )  # seldom in a long step, as each takes all intervals
            if len(intervals) >= FEWEST and due and self.ranks_differ(np.array(intervals)):
                self.abort(KAYENTA, end)

    def abort(self, rival: str, now: float) -> None:
        self.aborts.setdefault(rival, Abort(now - START, self.requests))

    def naive(self, known: Known, start: int, sums: np.ndarray[Any, Any]) -> None:
        """`sums`: by side, of requests, errors and slow answers of the step."""
        slow = known.seconds > self.usual.p99
        for look in range(start, start + INTERVAL, LOOK):
            during = (known.at >= look) & (known.at < look + LOOK)
            for i, side in enumerate((True, False)):
                rows = during & (known.here == side)
                sums[i] += rows.sum(), known.bad[rows].sum(), slow[rows].sum()
            wanted = {"error_rate": 1, "latency": 2}
            if any(z_of(sums, wanted[metric]) > Z for metric in self.metrics):
                self.abort(NAIVE, look + LOOK)

    def values(self, known: Known, side: bool) -> tuple[float, float]:
        """The share of errors and the p99 of an interval; NaN without requests."""
        rows = known.here == side
        if not rows.any():
            return float("nan"), float("nan")
        return float(known.bad[rows].mean()), float(np.quantile(known.seconds[rows], 0.99))

    def ranks_differ(self, intervals: np.ndarray[Any, Any]) -> bool:
        chosen = [i for i, metric in enumerate(("error_rate", "latency")) if metric in self.metrics]
        for i in chosen:
            ours, theirs = (side[~np.isnan(side)] for side in (intervals[:, 0, i], intervals[:, 1, i]))
            if len(ours) >= FEWEST and rank_z(ours, theirs) > Z:
                return True
        return False


def known_between(drawn: list[Requests], start: float, end: float) -> Known:
    """The outcomes of these draws that became known in this time."""
    parts = []
    for requests in drawn:
        at = requests.at + np.where(requests.bad, requests.lag, 0)
        rows = (at >= start) & (at < end)
        parts.append((at[rows], requests.here[rows], requests.bad[rows], requests.seconds[rows]))
    at, here, bad, seconds = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Known(at, here, bad, seconds)


def limits_of(check: Check, usual: Usual) -> tuple[int, float]:
    """The column of the interval's values, and the limit of it."""
    if check.metric == "error_rate":
        return 0, check.limit if check.bound == "max" else 2 * usual.errors
    if check.metric == "latency":
        return 1, check.limit if check.bound == "max" else 1.25 * usual.p99
    return 0, float("inf")


def is_over(values: tuple[float, float], limit: tuple[int, float]) -> bool:
    return values[limit[0]] > limit[1]


def z_of(sums: np.ndarray[Any, Any], column: int) -> float:
    """The pooled z of two shares; `sums`: by side, requests first."""
    (n, m), (x, y) = sums[:, 0], sums[:, column]
    pooled = (x + y) / max(n + m, 1)
    if min(n, m) < FEWEST or not 0 < pooled < 1:
        return 0.0
    return float((x / n - y / m) / sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))


def rank_z(ours: Floats, theirs: Floats) -> float:
    """Mann-Whitney's U of "ours are larger" in standard deviations, corrected for ties."""
    n, m = len(ours), len(theirs)
    u = float((np.sign(ours[:, None] - theirs[None, :]) + 1).sum()) / 2
    _, ties = np.unique(np.concatenate((ours, theirs)), return_counts=True)
    corrected = (n + m + 1) - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1))
    return (u - n * m / 2) / sqrt(n * m / 12 * corrected) if corrected > 0 else 0.0
