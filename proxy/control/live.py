"""One route at work: what is kept of it, and what is known of it only while the process lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from proxy.config.model import RouteConfig
from proxy.control.store import RouteRecord
from proxy.rollout.evidence import SHADOW, Evidence, fix_limits, gather
from proxy.rollout.fuse import FUSE, Tail
from proxy.rollout.guard import SATURATED, is_sick
from proxy.rollout.judgement import Sight, judge, move_of
from proxy.rollout.machine import Phase, RolloutState, mirrored
from proxy.rollout.move import Move
from proxy.rollout.outside import Reading
from proxy.rollout.strategy import Plan, expand
from proxy.rollout.verdict import Finding, Verdict
from proxy.routing.ledger import salt_of
from proxy.routing.snapshot import TESTER, Cut, Limits, Mirror, Role, Trial
from proxy.stats.counts import Cell


class LiveRoute:
    """`plan`, `record.rollout` and `evidence` are there together, or none of them is."""

    def __init__(self, config: RouteConfig, record: RouteRecord, evidence: Evidence | None) -> None:
        self.challenger_tail = Tail()
        self.champion_tail = Tail()
        self.verdicts: tuple[Verdict, ...] = ()
        self.waiting_for = ""
        self.lag = 0.0  # of the workers, seconds
        self.is_ready = self.warming = False
        self.outside: dict[str, Reading] = {}  # by query, of this route's checks
        self.renew(config, record, evidence)

    def renew(self, config: RouteConfig, record: RouteRecord, evidence: Evidence | None) -> None:
        """Take a new configuration or record. The tails stay unless another attempt begins."""
        self.config, self.record, self.evidence = config, record, evidence
        self.plan: Plan | None = expand(config.rollout) if config.rollout else None
        if evidence is None or not evidence.strata:
            self.challenger_tail = Tail()
        if evidence is not None and self.plan is not None:
            fix_limits(evidence, self.plan.checks)
        self.judge()

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def salt(self) -> bytes:
        return salt_of(self.name)

    @property
    def rollout(self) -> RolloutState | None:
        return self.record.rollout

    @property
    def is_guarded(self) -> bool:
        """Whether a challenger has traffic that it can still fail on."""
        return self.rollout is not None and (self.rollout.is_running or self.rollout.is_watched)

    @property
    def roles(self) -> dict[str, Role]:
        """By backend; who is not named is a member."""
        rollout = self.rollout
        if rollout is None:
            held = [name for name, weight in self.record.ledger.weights.items() if weight]
            return {held[0]: "champion"} if len(held) == 1 else {}
        if rollout.phase is Phase.PROMOTED:
            return {rollout.challenger: "champion"}
        return {rollout.champion: "champion", rollout.challenger: "challenger"}

    @property
    def trial(self) -> Trial:
        """What the data plane is to do for the rollout, beside its ledger."""
        rollout, config = self.rollout, self.config.rollout
        if rollout is None or config is None:
            return Trial()
        share = mirrored(rollout)
        mirrors = (Mirror(rollout.challenger, share),) if share else ()
        cut = rollout.has_failed and config.cut_after is not None
        cuts = (Cut(rollout.challenger, config.cut_after or 0.0),) if cut else ()
        return Trial(mirrors, cuts, self.limits)

    @property
    def limits(self) -> Limits:
        """What is slow, by backend: the data plane counts by it from the next snapshot on."""
        if not self.is_guarded or self.evidence is None or not self.evidence.limits:
            return {}
        titled = self.evidence.limits.items()
        ours, theirs = ([(title, limit[side]) for title, limit in titled] for side in (0, 1))
        return {
            self.evidence.challenger: tuple(sorted(ours, key=itemgetter(1))),
            self.evidence.champion: tuple(sorted(theirs, key=itemgetter(1))),
        }

    @property
    def orders(self) -> tuple[int, Trial]:
        """What the workers have to know of, as soon as it changes."""
        return self.record.ledger.version, self.trial

    @property
    def champion(self) -> str | None:
        return next((name for name, role in self.roles.items() if role == "champion"), None)

    def gather(self, cells: Sequence[Cell], now: float) -> None:
        """Add one tick's counts of this route to the evidence; the tails, for the fuse, get them in any case.

        What is left out is left out on both sides, for a reason known before: the coin stays as it is.
        """
        if self.plan is None or self.evidence is None or not self.is_guarded:
            return
        cells = [cell for cell in cells if cell.role != TESTER]
        if cells:
            self.warming = self.evidence.is_warming(cells, now, self.plan.warm_up)
        if not self.warming and not is_sick(self.champion_tail, now):
            gather(self.evidence, cells, self.plan.checks)
        versions = {s.version for s in self.evidence.strata}
        for cell in cells:
            if cell.role == SHADOW:
                continue
            if cell.backend == self.plan.challenger and cell.ledger_version in versions:
                self.challenger_tail.add(cell.recent, now)
            elif cell.backend == self.plan.champion:
                self.champion_tail.add(cell.recent, now)
        if cells:
            self.judge()
            if any(v.check == FUSE and v.verdict is Finding.VOID for v in self.verdicts):
                # Excused for good: the champion's share in it is forgotten sooner, as it has more traffic.
                self.challenger_tail = Tail()

    def warm(self, backend: str, now: float) -> None:
        """An endpoint of this backend has come back: cold, as if it were new."""
        if self.plan is None or self.evidence is None or self.evidence.warm_until is None:
            return
        if backend in (self.plan.champion, self.plan.challenger):
            self.evidence.warm_until = max(self.evidence.warm_until, now + self.plan.warm_up)

    def notice(self, lag: float) -> None:
        """How far the workers' loops lag behind; what it means for the verdicts is known at once."""
        was, self.lag = self.lag, lag
        if max(was, lag) >= SATURATED:
            self.judge()

    def hear(self, readings: Mapping[str, Reading]) -> None:
        """What a Prometheus server has answered lately."""
        if self.plan is None:
            return
        asked = [check.query for check in self.plan.checks if check.query is not None]
        heard = {query: readings[query] for query in asked if query in readings}
        if heard != self.outside:
            self.outside = heard
            self.judge()

    @property
    def sight(self) -> Sight | None:
        """What there is to judge; None without a rollout."""
        if self.plan is None or self.evidence is None or self.rollout is None:
            return None
        return Sight(
            plan=self.plan,
            state=self.rollout,
            evidence=self.evidence,
            challenger=self.challenger_tail,
            champion=self.champion_tail,
            sticky=bool(self.config.sticky),
            lag=self.lag,
            ready=self.is_ready,
            outside=self.outside,
            warming=self.warming,
        )

    def judge(self) -> None:
        sight = self.sight
        self.verdicts = judge(sight) if sight else ()

    def next_move(self, ready: bool, now: float) -> Move | None:
        """What the rollout does now; None where there is none. `ready`: the challenger can take traffic."""
        self.is_ready = ready
        sight = self.sight
        if sight is None:
            return None
        move = move_of(sight, self.verdicts, now)
        self.waiting_for = move.waiting_for
        return move
