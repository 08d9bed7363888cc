"""One simulated rollout: plan → evidence → judgement → move, with the code of the proxy, in the traffic of one world.

Rule: moves are applied at once, and each change of weights begins a new ledger version, as in control/change.py. A
request counts under the version and second of its routing, in the look after its outcome is known.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from crossfade.config.model import RolloutConfig
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.rollout.ejection import leave_out
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState, active_step, advance, exposure
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Verdict
from crossfade.scale import RECENT_KEPT, WHOLE
from crossfade.stats.counts import ERROR, REQUESTS, Cell, Events, Keys
from crossfade.stats.histogram import LOG_UNIT, PER_LOG, Histogram
from crossfade.stats.scores import bucket_of_score
from loadtests.traffic import P99, Bools, Floats, Position, Requests, Traffic, World

CHAMPION, CHALLENGER = "v2", "v3"
START = 1000  # seconds on the monotonic clock
BLOCK = 10  # seconds: the requests of one cell are of one block at most
BEFORE = 20_000  # durations of the champion before the rollout
CHAMPION_SHAPE = 5.0  # its scores are Beta(2, 5)
CALM, NEAR = 3, 3.0  # looks are so many times longer while all evidence is so many nats below its bound
PANEL = 1000  # keyed requests of one side and look, about, whose keys are reported
SETTINGS: dict[str, Any] = {
    "strategy": "canary",
    "champion": CHAMPION,
    "challenger": CHALLENGER,
    "steps": [
        {"weight": "5%", "hold": "10m"},
        {"weight": "25%", "hold": "10m"},
        {"weight": "50%", "hold": "20m"},
    ],
    "checks": [
        {"metric": "error_rate", "max": "2%"},
        {"metric": "error_rate", "max_increase": "0.5%"},
        {"metric": "latency", "quantile": 0.99, "max": f"{1.5 * P99 * 1000:.0f}ms"},
        {"metric": "latency", "quantile": 0.99, "max_ratio": 1.25},
    ],
}


class Result(NamedTuple):
    """`end`: aborted, promoted, or waiting at the horizon. `at`: seconds since the begin; `requests`: the challenger's until then.

    `checks`: those that failed; `why`: the reason of the abort, or what it waits for.
    """

    end: str
    at: float
    requests: int
    step: int
    checks: tuple[str, ...]
    why: str
    onset: float
    requests_before: int  # of the challenger before the onset


class Late(NamedTuple):
    """Outcomes that are not known yet. `due`: when they are."""

    due: float
    cell: Cell


class Rollout:
    """One run of a world."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world = world
        self.config = RolloutConfig.model_validate(SETTINGS | world.settings)
        plan = self.plan = expand(self.config, world.scored > 0)
        self.holds = sum(step.hold for step in plan.steps)
        self.horizon = world.horizon or 1.5 * self.holds + plan.watch
        self.is_timed = any(check.metric == "latency" for check in plan.checks)
        self.traffic = Traffic(world, rng, START + self.horizon)
        self.state = RolloutState(
            "r",
            "canary",
            CHAMPION,
            CHALLENGER,
            "i",
            plan.steps,
            plan.watch,
            START,
            START,
            START,
            holdback=plan.holdback,
        )
        self.runtime = RolloutRuntime()
        self.evidence = Evidence.begin(
            CHAMPION, CHALLENGER, Cell("r", CHAMPION, "champion", 1, duration=self.durations_before())
        )
        self.version, self.before, self.entered = 1, 0.0, float(START)
        self.requests = self.requests_before = 0
        self.late: list[Late] = []
        self.update()

    def durations_before(self) -> Histogram:
        return histogram_of(self.traffic.durations(BEFORE))

    def update(self) -> None:
        self.runtime.update(self.config, self.plan, self.state, self.evidence, self.world.customers > 0, {})

    @property
    def weight(self) -> float:
        return exposure(self.state) / WHOLE

    @property
    def onset(self) -> float:
        at = self.world.onset
        return at if at >= 0 else self.holds + at

    def run(self) -> Result:
        now = START
        self.move(now)
        while now < START + self.horizon and not self.is_over:
            end = now + self.world.look * (CALM if self.is_calm else 1)
            self.look(now, end)
            now = end
        return self.result(now - START)

    @property
    def is_calm(self) -> bool:
        """No check is near a FAIL, so that looks may be fewer: a FAIL is seen a little later."""
        if self.world.look == 1:
            return False
        near = [v.evidence - v.bound for v in self.runtime.verdicts if v.evidence is not None and v.bound]
        return max(near, default=0.0) < -NEAR

    @property
    def is_over(self) -> bool:
        return self.state.has_failed or (self.state.phase is Phase.PROMOTED and not self.state.is_watched)

    def look(self, begin: int, end: int) -> None:
        """The requests of these seconds, then one judgement and its move."""
        step = self.state.steps[self.state.step]
        position = Position(
            self.weight, self.before, self.entered, step.hold, self.state.phase is Phase.PROMOTED
        )
        requests = self.traffic.draw(begin, end, position)
        self.requests += int(requests.here.sum())
        if begin - START < self.onset:
            self.requests_before = self.requests
        cells = self.cells_of(requests, end)
        self.runtime.gather(cells, float(end), self.waiting())
        self.eject()
        self.move(end)

    def eject(self) -> None:
        """As control/ejecting.py does; min_up is the default, a half."""
        for bad in self.runtime.bad_instances():
            here = bad.backend == CHALLENGER
            size = self.world.endpoints[0 if here else 1]
            if 2 * (len(self.traffic.up[0 if here else 1]) - 1) >= size:
                leave_out(self.evidence, bad)
                self.traffic.eject(here, int(bad.endpoint.rpartition("-")[2]))
                self.runtime.evaluate()

    def waiting(self) -> dict[str, dict[int, int]]:
        out: dict[str, dict[int, int]] = {}
        for late in self.late:
            seconds = out.setdefault(late.cell.backend, {})
            seconds[late.cell.second] = seconds.get(late.cell.second, 0) + late.cell.requests
        return out

    def move(self, now: int) -> None:
        """Apply the rollout's move, as the controller does."""
        move = self.runtime.next_move(True, (), float(now))
        if move.event is None:
            return
        before, self.state = self.state, advance(self.state, move.event, float(now), move.reason)
        step = active_step(self.state)
        if step is not None and step != active_step(before):
            self.version += 1
            self.before, self.entered = exposure(before) / WHOLE, float(now)
            self.evidence = replace(self.evidence, strata=list(self.evidence.strata))
            self.evidence.open("r", self.version, step, self.weight)
        self.failed = tuple(v.check for v in self.runtime.verdicts if v.verdict is Verdict.FAIL)
        self.update()

    def result(self, at: float) -> Result:
        end = {Phase.PROMOTED: "promoted", Phase.ABORTED: "aborted", Phase.ROLLED_BACK: "aborted"}.get(
            self.state.phase, "waiting"
        )
        aborted = end == "aborted"
        why = self.state.reason if aborted else self.runtime.waiting_for
        checks = self.failed if aborted else ()
        return Result(end, at, self.requests, self.state.step, checks, why, self.onset, self.requests_before)

    # ── cells, as the workers count them ──────────────────────────────────────────────────────

    def cells_of(self, requests: Requests, now: int) -> list[Cell]:
        """The cells of the outcomes that are known by now: of this look, and late ones of earlier looks."""
        known = requests.at + np.where(requests.bad, requests.lag, 0) <= now
        cells = self.grouped(requests, known)
        if not known.all():
            second = np.floor(requests.at).astype(np.int64)
            for at in np.unique(second[~known]):
                for cell in self.grouped(requests, ~known & (second == at), int(at)):
                    due = float(requests.at[~known & (second == at)].max() + requests.lag.max())
                    self.late.append(Late(due, cell))
        cells += [late.cell for late in self.late if late.due <= now]
        self.late = [late for late in self.late if late.due > now]
        return cells

    def grouped(self, requests: Requests, chosen: Bools, second: int | None = None) -> list[Cell]:
        """One cell for each side and block or look, with its first second, or with this second."""
        limits, length = self.runtime.limits, min(BLOCK, self.world.look)
        blocks = np.floor(requests.at / length).astype(np.int64)
        cells = []
        for here, backend in ((True, CHALLENGER), (False, CHAMPION)):
            side = chosen & (requests.here == here)
            for block in np.unique(blocks[side]):
                at = int(block) * length if second is None else second
                rows = np.flatnonzero(side & (blocks == block))
                cells.append(self.cell(backend, at, requests, rows, dict(limits.get(backend, ()))))
        return cells

    def cell(
        self,
        backend: str,
        second: int,
        requests: Requests,
        rows: np.ndarray[Any, np.dtype[np.int64]],
        limits: dict[str, float],
    ) -> Cell:
        role = "challenger" if backend == CHALLENGER else "champion"
        bad, seconds, endpoint = requests.bad[rows], requests.seconds[rows], requests.endpoint[rows]
        n, failures = len(rows), int(bad.sum())
        cell = Cell("r", backend, role, self.version, n, failures, second=second)
        cell.codes = {200: n - failures, 500: failures} if failures else {200: n}
        cell.faults = {"500": failures} if failures else {}
        cell.duration = histogram_of(seconds) if self.is_timed else Histogram({0: n}, n, 0.0)
        kinds = {ERROR: bad} | {title: seconds > limit for title, limit in limits.items()}
        keys = self.traffic.hashes[requests.customer[rows]] if self.world.customers else None
        last = slice(-RECENT_KEPT, None)
        if keys is None:
            cell.unkeyed = n
            cell.recent = bad[last].astype(int).tolist()
            cell.events = {
                kind: Events(unkeyed=int(met.sum())) for kind, met in kinds.items() if kind != ERROR
            }
        else:
            cell.recent = ((keys[last] & ~np.uint64(1)) | bad[last].astype(np.uint64)).tolist()
            cell.events = {
                kind: Events(keyed=int(met.sum()), keys=keys[met].tolist()) for kind, met in kinds.items()
            }
            cell.keys = panel_of(keys)
        cell.by_endpoint = by_endpoint(f"{backend}-", endpoint, kinds)
        if self.world.scored:
            shape = self.world.scored if backend == CHALLENGER else CHAMPION_SHAPE
            self.add_scores(cell, requests.scoreless[rows], shape)
        return cell

    def add_scores(self, cell: Cell, scoreless: Floats, shape: float) -> None:
        rng = self.traffic.rng
        lost = rng.random(len(scoreless)) < scoreless
        cell.read = cell.answers = len(scoreless)
        cell.scoreless = int(lost.sum())
        for score in rng.beta(2.0, shape, len(scoreless) - cell.scoreless).tolist():
            cell.scores.add_to(bucket_of_score(score))


def histogram_of(seconds: Floats) -> Histogram:
    counts = np.bincount(((np.log(seconds) - LOG_UNIT) * PER_LOG).astype(np.int64))
    buckets = np.flatnonzero(counts)
    return Histogram(
        dict(zip(buckets.tolist(), counts[buckets].tolist(), strict=True)), len(seconds), float(seconds.sum())
    )


def panel_of(keys: np.ndarray[Any, np.dtype[np.uint64]]) -> Keys:
    """The keys whose hash begins with so many zero bits that about PANEL of them are left."""
    halvings = max(0, int(np.log2(max(len(keys), 1) / PANEL)) + 1) if len(keys) > PANEL else 0
    kept = keys[keys >> np.uint64(64 - halvings) == 0] if halvings else keys
    return Keys(kept.tolist(), halvings)


def by_endpoint(
    prefix: str, endpoint: np.ndarray[Any, np.dtype[np.int64]], kinds: dict[str, Bools]
) -> dict[str, dict[str, int]]:
    out = {f"{prefix}{i}": {REQUESTS: n} for i, n in enumerate(np.bincount(endpoint).tolist()) if n}
    for kind, met in kinds.items():
        for i, n in Counter(endpoint[met].tolist()).items():
            out[f"{prefix}{i}"][kind] = n
    return out
