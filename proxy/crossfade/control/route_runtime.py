"""One configured route: its record and evidence, and its rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from operator import itemgetter

from crossfade.config.model import RouteConfig
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_record import EvidenceBy, RouteRecord
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, active_step
from crossfade.rollout.recommendation import OUT, Lift, is_same
from crossfade.rollout.ripe import Portion
from crossfade.rollout.strategy import plans_of
from crossfade.routing.compiling import Trial
from crossfade.routing.snapshot import OWN, Limits, Role
from crossfade.stats.counts import NONE_WAITING, Cell, WaitingBy


class RouteRuntime:
    """`config.rollout`, `record.rollouts`, `rollouts` and `evidence` have the same challengers."""

    def __init__(self, config: RouteConfig, record: RouteRecord, evidence: EvidenceBy) -> None:
        self.rollouts: dict[str, RolloutRuntime] = {}  # by challenger, in the order of the file
        self.lock = asyncio.Lock()  # held while the next record and evidence are being written
        self.drifting: list[str] = []  # what there is an alarm of drift about
        self.deferred: list[Cell] = []  # counts that came meanwhile
        self.update(config, record, evidence)

    def update(self, config: RouteConfig, record: RouteRecord, evidence: EvidenceBy) -> None:
        """Use a new configuration or record."""
        self.config, self.record, self.evidence = config, record, evidence
        before, self.rollouts = self.rollouts, {}
        plans = plans_of(config)
        for rollout_config in config.rollout:
            name = rollout_config.challenger
            rollout = self.rollouts[name] = before.get(name) or RolloutRuntime()
            rollout.update(
                rollout_config,
                plans[name],
                record.rollouts[name],
                evidence[name],
                bool(config.sticky),
                record.other_phases(name),
            )
        self.share_lifts()

    def share_lifts(self) -> None:
        """Each rollout knows what the others that are tested for the same number have found. Nothing to do for one alone."""
        tested = {name: r for name, r in self.rollouts.items() if r.plan.primary is not None}
        lifts: dict[str, Lift | None] = {}
        if len(tested) > 1:
            lifts = {name: r.lift if r.is_on_trial else OUT for name, r in tested.items()}
        for name, rollout in self.rollouts.items():
            goal = rollout.plan.primary
            others = (other for other in lifts if other != name)
            rollout.set_lifts({o: lifts[o] for o in others if is_same(goal, tested[o].plan.primary)})

    @property
    def name(self) -> str:
        return self.record.name

    def gather(self, cells: Sequence[Cell], now: float, waiting: WaitingBy = NONE_WAITING) -> None:
        """Add one tick's counts of this route to the evidence; not while that is being written.

        Also without counts: those that were held back may enter the evidence now.
        """
        if cells:
            self.deferred.extend(cell for cell in cells if cell.backend != OWN)
        if self.lock.locked():
            return
        cells, self.deferred = self.deferred, []
        for rollout in self.rollouts.values():
            rollout.gather(cells, now, waiting)
        self.share_lifts()

    def feed(self, portion: Portion) -> None:
        """Add ripe predictions to the evidence; not while that is being written."""
        for rollout in self.rollouts.values():
            rollout.feed(portion)
        self.share_lifts()

    @property
    def _fed(self) -> list[Evidence]:
        """The evidence of the rollouts that feedback says something of now."""
        guarded = [r for r in self.rollouts.values() if r.state.is_guarded and r.evidence.shares]
        return [r.evidence for r in guarded if any(check.asks_feedback for check in r.plan.checks)]

    @property
    def wants_feedback(self) -> bool:
        return bool(self._fed)

    @property
    def fed_to(self) -> int:
        """The place in the prediction log up to which all of them have had the ripe predictions."""
        return min(evidence.fed_to for evidence in self._fed)

    @property
    def first_version(self) -> int:
        """The first ledger version that one of them compares."""
        return min(min(evidence.shares) for evidence in self._fed)

    @property
    def is_guarded(self) -> bool:
        """Whether a challenger has traffic and can still be aborted or rolled back."""
        return any(rollout.state.is_guarded for rollout in self.rollouts.values())

    @property
    def roles(self) -> dict[str, Role]:
        """By backend; a backend that is not here is a member."""
        states = self.record.rollouts.values()
        if not states:
            held = [name for name, weight in self.record.ledger.weights.items() if weight]
            return {held[0]: "champion"} if len(held) == 1 else {}
        for state in states:
            if state.phase is Phase.PROMOTED:
                return {state.challenger: "champion"}
        champions: dict[str, Role] = {state.champion: "champion" for state in states}
        return champions | {state.challenger: "challenger" for state in states}

    @property
    def champion(self) -> str | None:
        return next((name for name, role in self.roles.items() if role == "champion"), None)

    @property
    def trial(self) -> Trial:
        """What the data plane does for the rollouts, apart from the ledger."""
        rollouts = self.rollouts.values()
        mirrors = tuple(mirror for rollout in rollouts for mirror in rollout.mirrors)
        cuts = tuple(cut for rollout in rollouts for cut in rollout.cuts)
        return Trial(mirrors, cuts, self.limits, self.record.salt, self.is_guarded, self.steps)

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """Of the rollouts whose challenger has traffic by a step, or is watched, by challenger."""
        states = [rollout.state for rollout in self.rollouts.values() if rollout.state.is_guarded]
        steps = [(state.challenger, active_step(state)) for state in states]
        return tuple((name, step) for name, step in steps if step is not None)

    @property
    def limits(self) -> Limits:
        """Latency limits of all rollouts by backend, in ascending order."""
        out: Limits = {}
        for rollout in self.rollouts.values():
            for backend, limits in rollout.limits.items():
                out[backend] = (*out.get(backend, ()), *limits)
        return {backend: tuple(sorted(limits, key=itemgetter(1))) for backend, limits in out.items()}

    @property
    def published_parts(self) -> tuple[int, Trial]:
        """What a snapshot holds of the route; a change of it must be published at once."""
        return self.record.ledger.version, self.trial
