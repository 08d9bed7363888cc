"""One rollout at work: what is known of it only while the process lives, and what it asks of the data plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from crossfade.config.model import RolloutConfig
from crossfade.rollout.evaluation import EvaluationInput, choose_move, evaluate
from crossfade.rollout.evidence import Evidence, fix_limits, gather
from crossfade.rollout.external import Reading
from crossfade.rollout.fuse import FUSE, RecentOutcomes
from crossfade.rollout.guard import RECOVERY, SATURATED, is_failing
from crossfade.rollout.machine import Phase, RolloutState, mirrored
from crossfade.rollout.move import Move
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.routing.snapshot import TESTER, Cut, Limits, Mirror
from crossfade.stats.counts import ERROR, SHADOW, Cell


class RolloutRuntime:
    """`sticky`: whether its route holds customers by a key; `beside`: the phases of the route's other rollouts."""

    plan: Plan

    def __init__(self) -> None:
        self.challenger_recent = RecentOutcomes()
        self.champion_recent = RecentOutcomes()
        self.verdicts: tuple[Finding, ...] = ()
        self.waiting_for = ""
        self.lag = 0.0  # of the workers, seconds
        self.is_ready = self.warming = False
        self.sick_at = float("-inf")  # when the champion was last seen to be sick
        self.external: dict[str, Reading] = {}  # by query, of its checks

    def renew(
        self,
        config: RolloutConfig,
        state: RolloutState,
        evidence: Evidence,
        sticky: bool,
        other_phases: dict[str, Phase],
    ) -> None:
        """Take a new configuration or state. The tails stay unless another attempt begins."""
        self.config, self.state, self.evidence, self.sticky, self.other_phases = (
            config,
            state,
            evidence,
            sticky,
            other_phases,
        )
        self.plan = expand(config)
        if not evidence.strata:
            self.challenger_recent = RecentOutcomes()
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
        """What is slow, by backend: the data plane counts by it from the next snapshot on.

        For the champion each rollout has limits of its own, so there its challenger is in the title.
        """
        if not self.state.is_guarded:
            return {}
        limits = self.evidence.limits.items()
        ours = tuple((title, limit.challenger) for title, limit in limits)
        theirs = tuple((title + self.mark, limit.champion) for title, limit in limits)
        return {self.challenger: ours, self.state.champion: theirs} if limits else {}

    @property
    def mark(self) -> str:
        return f" ({self.challenger})"

    def heard(self, cell: Cell) -> Cell:
        """The champion's cell with the events of this rollout's limits only, by the checks' own titles."""
        if not cell.events or cell.backend != self.plan.champion:
            return cell
        own = {kind: met for kind, met in cell.events.items() if kind == ERROR or kind.endswith(self.mark)}
        return replace(cell, events={kind.removesuffix(self.mark): met for kind, met in own.items()})

    def gather(self, cells: Sequence[Cell], now: float) -> None:
        """Add one tick's counts of its route to the evidence; the tails, for the fuse, get them in any case.

        What is left out is left out on both sides, for a reason known before: the coin stays as it is. An outage
        of the champion, and the recovery from it, are left out of the fuse as well: who comes back second is not
        to blame.
        """
        if not self.state.is_guarded:
            return
        cells = [self.heard(cell) for cell in cells if cell.role != TESTER]
        if is_failing(self.champion_recent, now):
            self.sick_at = now
            self.challenger_recent = RecentOutcomes()  # how the outage began, too, says nothing of it
        shaken = now - self.sick_at < RECOVERY
        if cells:
            self.warming = self.evidence.is_warming(cells, now, self.plan.warm_up) or shaken
        if not self.warming:
            gather(self.evidence, cells, self.plan.checks)
        versions = {s.version for s in self.evidence.strata}
        for cell in cells:
            if cell.role == SHADOW:
                continue
            if cell.backend == self.plan.challenger and cell.ledger_version in versions:
                if not shaken:
                    self.challenger_recent.add(cell.recent, now)
            elif cell.backend == self.plan.champion:
                self.champion_recent.add(cell.recent, now)
        if cells:
            self.evaluate()
            if any(v.check == FUSE and v.verdict is Verdict.VOID for v in self.verdicts):
                # Excused for good: the champion's share in it is forgotten sooner, as it has more traffic.
                self.challenger_recent = RecentOutcomes()

    def warm(self, backend: str, now: float) -> None:
        """An endpoint of this backend has come back: cold, as if it were new."""
        if self.evidence.warm_until is not None and backend in (self.plan.champion, self.plan.challenger):
            self.evidence.warm_until = max(self.evidence.warm_until, now + self.plan.warm_up)

    def notice(self, lag: float) -> None:
        """How far the workers' loops lag behind; what it means for the verdicts is known at once."""
        was, self.lag = self.lag, lag
        if max(was, lag) >= SATURATED:
            self.evaluate()

    def hear(self, readings: Mapping[str, Reading]) -> None:
        """What a Prometheus server has answered lately."""
        asked = [check.query for check in self.plan.checks if check.query is not None]
        heard = {query: readings[query] for query in asked if query in readings}
        if heard != self.external:
            self.external = heard
            self.evaluate()

    @property
    def given(self) -> EvaluationInput:
        """What there is to judge."""
        return EvaluationInput(
            plan=self.plan,
            state=self.state,
            evidence=self.evidence,
            challenger=self.challenger_recent,
            champion=self.champion_recent,
            sticky=self.sticky,
            lag=self.lag,
            ready=self.is_ready,
            external=self.external,
            warming=self.warming,
            other_phases=self.other_phases,
        )

    def evaluate(self) -> None:
        self.verdicts = evaluate(self.given)

    def next_move(self, ready: bool, now: float) -> Move:
        """What the rollout does now. `ready`: the challenger can take traffic."""
        self.is_ready = ready
        move = choose_move(self.given, self.verdicts, now)
        self.waiting_for = move.waiting_for
        return move
