"""One evaluation of one rollout: guard, fuse and checks → findings, and the next move of the machine.

Rule: the result depends on `EvaluationInput` only. So the same input gives the same findings and the same move
in the health loop and in a replay of the journal.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from crossfade.rollout.checks import context_of, evaluate_checks
from crossfade.rollout.drift import OF_DRIFT, DriftReading, evaluate_drift
from crossfade.rollout.evidence import Evidence, requests_not_abandoned, side_totals
from crossfade.rollout.external import Reading, evaluate_external
from crossfade.rollout.faults import tally, where
from crossfade.rollout.fuse import Reached, evaluate_fuse
from crossfade.rollout.guard import PROXY, GuardInput, evaluate_guard, void_excused_failures
from crossfade.rollout.instances import has_one_endpoint
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.move import Facts, Move, next_move
from crossfade.rollout.plan import Check, Plan
from crossfade.rollout.recent import RecentOutcomes
from crossfade.rollout.recommendation import Lift, recommended
from crossfade.rollout.step_gate import GateAnswer
from crossfade.rollout.strategy import checks_for_step
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.sums import add_up


class EvaluationInput(msgspec.Struct):
    """All inputs of one evaluation. `ready`: the challenger can take traffic; `lag`: of the workers, seconds.

    `home_down`: backends that would get traffic if the rollout ended now, and that are down.
    `faults`: errors of the challenger, by kind, that are not in the evidence yet. `external`: the latest results of the plan's Prometheus queries; `drift`: of its checks of drift, by title; `other_phases`: of the route's other rollouts.
    `lifts`: of the other challengers on trial for the same number. `reached`: the fuse's limit that was reached, now or while the champion's requests of that time were waiting.
    `gate`: the last answer of the gate, whatever step it is of.
    """

    plan: Plan
    state: RolloutState
    evidence: Evidence
    challenger: RecentOutcomes
    champion: RecentOutcomes
    sticky: bool
    lag: float = 0.0
    ready: bool = False
    external: dict[str, Reading] = {}
    drift: dict[str, DriftReading] = {}
    warming: bool = False
    other_phases: dict[str, Phase] = {}
    home_down: tuple[str, ...] = ()
    faults: dict[str, int] = {}
    reached: Reached | None = None
    lifts: dict[str, Lift | None] = {}
    gate: GateAnswer | None = None

    @property
    def step(self) -> int:
        """The step whose evidence is evaluated; len(plan.steps) during the watch and after."""
        after = self.state.phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
        return len(self.plan.steps) if after else self.state.step


def evaluate(given: EvaluationInput) -> tuple[Finding, ...]:
    """Findings of the fuse and the guard, if there are any, then one for each check that this step can answer.

    The fuse looks for a common cause itself, so of the guard's findings only a saturated proxy excuses it.
    """
    step = given.step
    checks = checks_for_step(given.plan, step)
    drifts = tuple(c for c in checks if c.metric in OF_DRIFT)
    measured = tuple(c for c in checks if c.metric != "prometheus" and c.metric not in OF_DRIFT)
    alpha = given.plan.alpha / max(len(measured) + len(drifts), 1)  # of each check
    plan = given.plan if not drifts else replace(given.plan, alpha=alpha * len(measured))
    plan = replace(plan, checks=measured)
    guard_input = GuardInput(
        given.lag,
        given.sticky,
        given.challenger,
        given.champion,
        given.warming,
        frozenset(check.metric for check in given.plan.checks),
        len(given.plan.steps),
    )
    guard = evaluate_guard(given.evidence, step, guard_input)
    findings = evaluate_checks(plan, given.evidence, step)
    findings = tuple(
        _with_instances(*each, given.evidence, step) for each in zip(measured, findings, strict=True)
    )
    if len(measured) < len(checks):
        context = context_of(replace(given.plan, alpha=alpha), step)
        findings += evaluate_drift(drifts, given.drift, context)
        external = [c for c in checks if c.metric == "prometheus"]
        findings += evaluate_external(external, given.external, given.state.since)
    fuse = plan.fuse and evaluate_fuse(plan.fuse, given.challenger, given.champion, given.reached)
    if fuse:
        fuse = _with_faults(fuse, given, step)
    fuse_findings = (
        void_excused_failures((fuse,), [g for g in guard if g.finding.check == PROXY]) if fuse else ()
    )
    return (*fuse_findings, *(g.finding for g in guard), *void_excused_failures(findings, guard))


def _with_faults(fuse: Finding, given: EvaluationInput, step: int) -> Finding:
    """The fuse sees outcomes in order and no kinds, so its reason gets those of the step, with what does not count yet."""
    faults = dict(side_totals(given.evidence.of_step(step))[0].faults)
    add_up(faults, given.faults)
    kinds = tally(faults)
    if not kinds:
        return fuse
    return replace(fuse, reason=f"{fuse.reason} ({where(step, len(given.plan.steps))}: {kinds})")


def _with_instances(check: Check, finding: Finding, evidence: Evidence, step: int) -> Finding:
    """Says which endpoints do not count, and where "this instance is bad" and "this model is bad" are one sentence."""
    if check.metric not in ("error_rate", "latency"):
        return finding
    reason = finding.reason
    if evidence.ejected:
        reason += f"; without {', '.join(bad.name for bad in evidence.ejected)}, ejected by evidence"
    if finding.verdict is Verdict.FAIL and has_one_endpoint(evidence.of_step(step), "challenger"):
        reason += "; all of it is from its only endpoint, so the instance may be bad instead of the model"
    return replace(finding, reason=reason)


def choose_move(given: EvaluationInput, findings: tuple[Finding, ...], now: float) -> Move:
    """The next move for these findings; `now`: served time, seconds."""
    requests = sum(requests_not_abandoned(s.challenger) for s in given.evidence.of_step(given.state.step))
    acts = given.plan.primary is not None and given.plan.primary.act
    said = recommended(given.plan, given.evidence, given.lifts, findings) if acts else None
    facts = Facts(findings, requests, given.ready, given.other_phases, given.home_down, said, given.gate)
    return next_move(given.plan, given.state, facts, now)
