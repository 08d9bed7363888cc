"""One look at one rollout: guard, fuse and checks → the verdicts, and what they ask of the machine.

Rule: everything a look depends on is in `Sight`, so that the same sight gives the same verdicts and
the same move, in the health loop and in a replay of the journal.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from crossfade.rollout.checks import evaluate_checks
from crossfade.rollout.evidence import Evidence, requests_not_abandoned
from crossfade.rollout.external import Reading, evaluate_external
from crossfade.rollout.fuse import RecentOutcomes, evaluate_fuse
from crossfade.rollout.guard import PROXY, GuardInput, evaluate_guard, void_excused_failures
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.move import Facts, Move, next_move
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import checks_for_step
from crossfade.rollout.verdict import Finding


class EvaluationInput(msgspec.Struct):
    """What is seen of one rollout. `ready`: the challenger can take traffic; `lag` of the workers in seconds.

    `outside`: the last answers to the plan's Prometheus queries; `beside`: the phases of the route's other rollouts.
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
    warming: bool = False
    other_phases: dict[str, Phase] = {}

    @property
    def step(self) -> int:
        """Which step's evidence is judged; len(plan.steps) during the watch and after."""
        after = self.state.phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
        return len(self.plan.steps) if after else self.state.step


def evaluate(given: EvaluationInput) -> tuple[Finding, ...]:
    """Fuse and guard where they have something to say, then each check that can be asked in this step.

    The fuse knows of common causes itself, so only a saturated proxy excuses it.
    """
    step = given.step
    checks = checks_for_step(given.plan, step)
    inside = tuple(c for c in checks if c.metric != "prometheus")
    plan = replace(given.plan, checks=inside)
    guard_input = GuardInput(given.lag, given.sticky, given.challenger, given.champion, given.warming)
    guard = evaluate_guard(given.evidence, step, guard_input)
    verdicts = evaluate_checks(plan, given.evidence, step)
    if len(inside) < len(checks):
        external = [c for c in checks if c.metric == "prometheus"]
        verdicts += evaluate_external(external, given.external, given.state.since)
    fuse = plan.fuse and evaluate_fuse(plan.fuse, given.challenger, given.champion)
    blown = void_excused_failures((fuse,), [c for c in guard if c.verdict.check == PROXY]) if fuse else ()
    return (*blown, *(caution.verdict for caution in guard), *void_excused_failures(verdicts, guard))


def choose_move(given: EvaluationInput, verdicts: tuple[Finding, ...], now: float) -> Move:
    requests = sum(requests_not_abandoned(s.challenger) for s in given.evidence.of_step(given.state.step))
    return next_move(given.plan, given.state, Facts(verdicts, requests, given.ready, given.other_phases), now)
