"""One look at one rollout: guard, fuse and checks → the verdicts, and what they ask of the machine.

Rule: everything a look depends on is in `Sight`, so that the same sight gives the same verdicts and
the same move, in the health loop and in a replay of the journal.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from crossfade.rollout.checks import judge_all
from crossfade.rollout.evidence import Evidence, judged
from crossfade.rollout.fuse import Tail, judge_fuse
from crossfade.rollout.guard import PROXY, Circumstances, excused, judge_guard
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.move import Facts, Move, next_move
from crossfade.rollout.outside import Reading, judge_outside
from crossfade.rollout.strategy import Plan, asked
from crossfade.rollout.verdict import Verdict


class Sight(msgspec.Struct):
    """What is seen of one rollout. `ready`: the challenger can take traffic; `lag` of the workers in seconds.

    `outside`: the last answers to the plan's Prometheus queries; `beside`: the phases of the route's other rollouts.
    """

    plan: Plan
    state: RolloutState
    evidence: Evidence
    challenger: Tail
    champion: Tail
    sticky: bool
    lag: float = 0.0
    ready: bool = False
    outside: dict[str, Reading] = {}
    warming: bool = False
    beside: dict[str, Phase] = {}

    @property
    def step(self) -> int:
        """Which step's evidence is judged; len(plan.steps) during the watch and after."""
        after = self.state.phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
        return len(self.plan.steps) if after else self.state.step


def judge(sight: Sight) -> tuple[Verdict, ...]:
    """Fuse and guard where they have something to say, then each check that can be asked in this step.

    The fuse knows of common causes itself, so only a saturated proxy excuses it.
    """
    step = sight.step
    checks = asked(sight.plan, step)
    inside = tuple(c for c in checks if c.metric != "prometheus")
    plan = replace(sight.plan, checks=inside)
    around = Circumstances(sight.lag, sight.sticky, sight.challenger, sight.champion, sight.warming)
    guard = judge_guard(sight.evidence, step, around)
    verdicts = judge_all(plan, sight.evidence, step)
    if len(inside) < len(checks):
        outside = [c for c in checks if c.metric == "prometheus"]
        verdicts += judge_outside(outside, sight.outside, sight.state.since)
    fuse = plan.fuse and judge_fuse(plan.fuse, sight.challenger, sight.champion)
    blown = excused((fuse,), [c for c in guard if c.verdict.check == PROXY]) if fuse else ()
    return (*blown, *(caution.verdict for caution in guard), *excused(verdicts, guard))


def move_of(sight: Sight, verdicts: tuple[Verdict, ...], now: float) -> Move:
    requests = sum(judged(s.challenger) for s in sight.evidence.of_step(sight.state.step))
    return next_move(sight.plan, sight.state, Facts(verdicts, requests, sight.ready, sight.beside), now)
