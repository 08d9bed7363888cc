"""One running rollout: the part of its state that is not on disk, and what the data plane must do for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from crossfade.config.model import RolloutConfig
from crossfade.rollout.drift import OF_DRIFT, DriftReading
from crossfade.rollout.evaluation import EvaluationInput, choose_move, evaluate
from crossfade.rollout.evidence import Evidence, fix_limits, gather
from crossfade.rollout.external import Reading, following
from crossfade.rollout.feeding import feed
from crossfade.rollout.fuse import FUSE, Came, Reached, next_reached
from crossfade.rollout.guard import INSTANCE, RECOVERY, SATURATED, fails_too, is_failing, proven_instances
from crossfade.rollout.instances import BadEndpoint, Side, endpoints_of
from crossfade.rollout.lingering import linger
from crossfade.rollout.machine import Phase, RolloutState, mirrored
from crossfade.rollout.move import Move
from crossfade.rollout.pending import HORIZON, Pending, Skipped, ripe
from crossfade.rollout.plan import Check, Plan
from crossfade.rollout.recent import RecentOutcomes, Tick
from crossfade.rollout.recommendation import (
    Lift,
    Recommendation,
    interval_alpha,
    on_trial,
    recommend,
    void_of,
)
from crossfade.rollout.ripe import Portion
from crossfade.rollout.step_gate import GateAnswer
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.routing.snapshot import CACHED, TESTER, Cut, Limits, Mirror
from crossfade.stats.counts import (
    ANY_SECOND,
    ERROR,
    NONE_WAITING,
    REJECTED,
    REQUESTS,
    SHADOW,
    UNREADABLE,
    Cell,
    WaitingBy,
)
from crossfade.stats.sums import add_up

PLAIN_EVENTS = (ERROR, REJECTED, UNREADABLE, REQUESTS)  # kinds that depend on no limit of a rollout
T = TypeVar("T")


class RolloutRuntime:
    """`sticky`: the route has a sticky key. `other_phases`: of the route's other rollouts, by challenger."""

    plan: Plan
    judged: EvaluationInput

    def __init__(self) -> None:
        self.horizon = HORIZON  # seconds; no request of the champion waits longer for a first byte
        self.challenger_recent = RecentOutcomes()
        self.champion_recent = RecentOutcomes()
        self.verdicts: tuple[Finding, ...] = ()
        self.waiting_for = ""
        self.gate: GateAnswer | None = None  # its last answer
        self.asks_gate = False  # it is to be asked now
        self.lag = 0.0  # seconds; the largest loop lag of a worker
        self.is_ready = self.warming = False
        self.home_down: tuple[str, ...] = ()  # backends that would get its traffic, and that are down
        self.sick_at = float("-inf")  # when the champion was last found sick
        self.skipped = Skipped()
        self.newest = ANY_SECOND  # the last second of routing that was reported
        self.newest_at = 0.0  # served time at which it was
        self.void_at = float("-inf")  # when the fuse last found a common cause
        self.is_shared = False  # the challenger failed too when that outage was found
        self.external: dict[str, Reading] = {}  # by query of a check
        self.drift: dict[str, DriftReading] = {}  # by title of a check
        self.reached: Reached | None = None  # the fuse's limit that was reached
        self.lifts: dict[str, Lift | None] = {}  # of the other challengers on trial for the same number
        self._lift: tuple[object, Lift | None] = ((), None)  # what it was computed from, and the lift
        self.waiting = NONE_WAITING  # requests without a first byte yet, by backend and second of routing

    def update(
        self,
        config: RolloutConfig,
        plan: Plan,
        state: RolloutState,
        evidence: Evidence,
        sticky: bool,
        other_phases: dict[str, Phase],
    ) -> None:
        """Use a new configuration or state. Recent outcomes stay unless another attempt begins."""
        self.config, self.state, self.evidence, self.sticky, self.other_phases = (
            config,
            state,
            evidence,
            sticky,
            other_phases,
        )
        # Of a promoted challenger the file may name another champion by now.
        self.plan = replace(plan, champion=state.champion)
        if not evidence.strata:
            self._forget_outcomes()
        fix_limits(evidence, self.plan.checks)
        self.evaluate()

    @property
    def challenger(self) -> str:
        return self.state.challenger

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        share = mirrored(self.state)
        return (Mirror(self.challenger, share),) if share else ()

    @property
    def cuts(self) -> tuple[Cut, ...]:
        after = self.config.cut_after
        return (Cut(self.challenger, after),) if self.state.has_failed and after is not None else ()

    @property
    def limits(self) -> Limits:
        """Latency limits by backend: the data plane counts the requests above them from the next snapshot on.

        Each rollout has its own limits for the champion, so their titles name the challenger.
        """
        if not self.state.is_guarded:
            return {}
        limits = self.evidence.limits.items()
        ours = tuple((title, limit.challenger) for title, limit in limits)
        theirs = tuple((title + self._suffix, limit.champion) for title, limit in limits)
        return {self.challenger: ours, self.state.champion: theirs} if limits else {}

    @property
    def _suffix(self) -> str:
        return f" ({self.challenger})"

    def _own_events(self, cell: Cell) -> Cell:
        """The champion's cell with the events of this rollout's limits only, without the suffix."""
        if cell.backend != self.plan.champion or not (cell.events or cell.by_endpoint):
            return cell
        by_endpoint = {endpoint: self._own(counts) for endpoint, counts in cell.by_endpoint.items()}
        return replace(cell, events=self._own(cell.events), by_endpoint=by_endpoint)

    def _own(self, by_kind: dict[str, T]) -> dict[str, T]:
        suffix = self._suffix
        return {
            kind.removesuffix(suffix): value
            for kind, value in by_kind.items()
            if kind in PLAIN_EVENTS or kind.endswith(suffix)
        }

    def bad_instances(self) -> list[BadEndpoint]:
        """What the guard's findings of bad endpoints are about."""
        if all(found.check != INSTANCE for found in self.verdicts):
            return []
        return proven_instances(self.evidence, self.judged.step)

    def instances_of(self, backend: str) -> set[str]:
        """The endpoints of champion or challenger that had requests in this step."""
        side: Side = "challenger" if backend == self.challenger else "champion"
        return endpoints_of(self.evidence.of_step(self.judged.step), side)

    def gather(self, cells: Sequence[Cell], now: float, waiting: WaitingBy = NONE_WAITING) -> None:
        """Add one tick's counts of the route to the evidence, and to the recent outcomes for the fuse.

        During warm-up, and while both backends fail or recover, counts do not enter the evidence. Skipped
        counts are skipped for both backends, for a reason known beforehand, so the comparison stays unbiased: an outage
        of the champion alone counts, as one of the challenger alone does. The fuse skips every outage of the champion:
        the backend that recovers second is not to blame.
        """
        self.waiting = waiting
        if not self.state.is_guarded:
            return
        cells = [self._own_events(cell) for cell in cells if cell.role not in (CACHED, TESTER)]
        if is_failing(self.champion_recent, now):
            fails = fails_too(self.challenger_recent, now) or now - self.void_at < RECOVERY
            self.sick_at, self.is_shared = now, self.is_shared or fails
            self._forget_outcomes()  # the first errors of the outage do not count either
        recovering = now - self.sick_at < RECOVERY
        self.is_shared = self.is_shared and recovering
        if cells:
            self._skip(cells, self.evidence.is_warming(cells, now, self.plan.warm_up) or self.is_shared, now)
        counted = self._ripe(self.skipped.entering(cells, self.warming), now)
        if counted:
            gather(self.evidence, counted, self.plan.checks)
        waits = self._linger(now)
        self._follow_outcomes([cell for cell in cells if cell.role != SHADOW], now, recovering)
        if cells or counted or waits or self.reached:
            self.evaluate()
            is_held = self.reached is not None and self.reached.is_held
            if not is_held and any(v.check == FUSE and v.verdict is Verdict.VOID for v in self.verdicts):
                # Drop the outage for good: the champion, with more traffic, forgets its part of it sooner.
                self.void_at = now
                self._forget_outcomes()

    def feed(self, portion: Portion) -> None:
        """Add ripe predictions. They count by the time at which they were routed, so a warm-up or an outage now does not matter."""
        if self.state.is_guarded and feed(self.evidence, portion, self.plan.checks):
            self.evaluate()

    def _follow_outcomes(self, cells: Sequence[Cell], now: float, recovering: bool) -> None:
        """Add one tick's outcomes in order, and see whether they reach a limit of the fuse."""
        versions = {s.version for s in self.evidence.strata}
        for cell in cells:
            if cell.backend == self.plan.challenger and cell.ledger_version in versions:
                if not recovering:
                    self.challenger_recent.add(cell.recent, now, cell.second)
            elif cell.backend == self.plan.champion:
                self.champion_recent.add(cell.recent, now, cell.second)
        came = Came(
            [Tick(now, cell.recent, cell.second) for cell in cells if cell.backend == self.plan.champion],
            self.waiting.get(self.plan.champion, {}),
            now,
        )
        recents, fuse = (self.challenger_recent, self.champion_recent), self.plan.fuse
        self.reached = next_reached(self.reached, fuse, recents, came, self.horizon) if fuse else None

    def _forget_outcomes(self) -> None:
        self.challenger_recent, self.reached = RecentOutcomes(), None

    def _skip(self, cells: Sequence[Cell], skips: bool, now: float) -> None:
        """Follow which seconds are skipped: by the time of routing, as one side may fail at once and the other late."""
        newest = max(self.newest, *(cell.second for cell in cells), ANY_SECOND)
        if skips:
            self.skipped = Skipped(self.skipped.first if self.warming else self.newest + 1, newest)
        if newest > self.newest:
            self.newest_at = now
        self.warming, self.newest = skips, newest

    def _ripe(self, cells: Sequence[Cell], now: float) -> list[Cell]:
        """What counts from now on: the champion has answered all that was routed at the same time."""
        evidence = self.evidence
        evidence.pending += [Pending(now, cell) for cell in cells]
        counted, evidence.pending = ripe(
            evidence.pending, now, self.waiting.get(self.plan.champion, {}), self.horizon
        )
        return counted

    def restart_warm_up(self, backend: str, now: float) -> None:
        """An endpoint of this backend is up again, and cold like a new one."""
        if self.evidence.warm_until is not None and backend in (self.plan.champion, self.plan.challenger):
            self.evidence.warm_until = max(self.evidence.warm_until, now + self.plan.warm_up)

    def set_lag(self, lag: float) -> None:
        """The largest loop lag of a worker; verdicts follow at once."""
        previous, self.lag = self.lag, lag
        if max(previous, lag) >= SATURATED:
            self.evaluate()

    def set_readings(self, readings: Mapping[str, Reading]) -> None:
        """The latest answers of the Prometheus server, by query."""
        queries = [check.query for check in self.plan.checks if check.query is not None]
        found = {
            query: following(self.external.get(query), readings[query])
            for query in queries
            if query in readings
        }
        if found != self.external:
            self.external = found
            self.evaluate()

    @property
    def drift_checks(self) -> list[Check]:
        return [check for check in self.plan.checks if check.metric in OF_DRIFT]

    def set_drift(self, readings: dict[str, DriftReading]) -> None:
        """What was seen in the present step, by title of the check."""
        if readings != self.drift:
            self.drift = readings
            self.evaluate()

    @property
    def evaluation_input(self) -> EvaluationInput:
        """The inputs that the verdicts were made from, which may differ from the present values (law 12)."""
        return replace(self.judged, ready=self.is_ready, home_down=self.home_down, gate=self.gate)

    def set_lifts(self, lifts: dict[str, Lift | None]) -> None:
        """Of the route's other challengers."""
        if lifts != self.lifts:
            self.lifts = lifts
            self.evaluate()

    @property
    def lift(self) -> Lift | None:
        """Of this challenger by the number of its plan, which it must have. Computed when there are other numbers only."""
        alpha, goal = interval_alpha(self.plan.alpha, len(self.lifts) + 1), self.plan.primary
        found = self.evidence.kpis.get(goal.title) if goal else None
        seen = (
            alpha,
            goal,
            found and (found.n, found.total, found.here.n, found.here.total, found.first.known),
        )
        if seen != self._lift[0]:
            self._lift = seen, on_trial(self.plan, self.evidence, alpha)
        return self._lift[1]

    @property
    def is_on_trial(self) -> bool:
        """Whether it has traffic, and its number is compared with the champion's."""
        return self.state.is_running and self.state.begun

    @property
    def recommendation(self) -> Recommendation | None:
        """With all its numbers, for people; None if the plan names none to go by, or nobody is on trial."""
        goal, own = self.plan.primary, self.challenger
        if goal is None or not self.is_on_trial:
            return None
        void = void_of(goal, self.verdicts)
        return recommend(goal, self.plan.alpha, own, {own: self.lift, **self.lifts}, void)

    def evaluate(self) -> None:
        self.judged = EvaluationInput(
            plan=self.plan,
            state=self.state,
            evidence=self.evidence,
            challenger=self.challenger_recent,
            champion=self.champion_recent,
            sticky=self.sticky,
            lag=self.lag,
            ready=self.is_ready,
            external=self.external,
            drift=self.drift,
            warming=self.warming,
            other_phases=self.other_phases,
            reached=self.reached,
            faults=self._pending_faults(),
            lifts=self.lifts,
        )
        self.verdicts = evaluate(self.judged)

    def _linger(self, now: float) -> bool:
        if self.newest == ANY_SECOND or not self.evidence.strata:
            return False
        return linger(self.evidence, self.newest + int(now - self.newest_at))

    def _pending_faults(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for item in self.evidence.pending:
            if item.cell.faults and item.cell.backend == self.challenger and item.cell.role != SHADOW:
                add_up(out, item.cell.faults)
        return out

    def next_move(self, ready: bool, home_down: tuple[str, ...], now: float) -> Move:
        """The next move of the rollout. `ready`: the challenger can take traffic."""
        self.is_ready, self.home_down = ready, home_down
        move = choose_move(self.evaluation_input, self.verdicts, now)
        self.waiting_for, self.asks_gate = move.waiting_for, move.asks_gate
        return move
