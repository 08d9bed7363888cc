"""A plan that is edited while its rollout runs: the state and the evidence go on under the new plan (law 13).

Rule: the challenger keeps its weight, whatever the steps are now. The rollout stands at the step that has this weight, else at
the nearest one below it. A lower weight of the step that it stands at is refused: that is an abort, a split or another attempt.
Where no step has the challenger's weight any more, no step's weight is the challenger's, so none of them lowers it. A holdback
that is edited during a watch holds for the next attempt: in this watch the former champion keeps what it has until the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState, Step, exposure, mirrored
from crossfade.rollout.plan import Plan
from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import percent
from crossfade.scale import WHOLE

T = TypeVar("T")


class NotInPlace(Exception):
    """The rollout cannot go on under this plan; the text says why."""


def state_under(plan: Plan, state: RolloutState) -> RolloutState:
    """The state under another plan; no traffic moves. Raises NotInPlace."""
    out = replace(state, strategy=plan.strategy, steps=plan.steps, watch=plan.watch, holdback=plan.holdback)
    if state.phase is Phase.PROMOTED:
        # A watch that holds back ends by its event, which gives the challenger the rest.
        goes_on = state.is_watched and (plan.watch > 0 or state.held_back > 0)
        until = state.since + plan.watch if goes_on else None
        return replace(out, step=min(state.step, len(plan.steps) - 1), watch_until=until)
    if not state.is_running or not state.begun:
        return replace(out, step=min(state.step, len(plan.steps) - 1))
    weight, mirror = exposure(state), mirrored(state)
    step = _step_at(plan.steps, state, weight, mirror)
    found = plan.steps[step]
    out = replace(out, step=step, weight=None if found.weight == weight else weight)
    if state.awaits_approval and not found.approval:
        return replace(out, phase=Phase.PROGRESSING, awaits_approval=False)
    return out


def _step_at(steps: Sequence[Step], state: RolloutState, weight: int, mirror: int) -> int:
    same = [i for i, step in enumerate(steps) if (step.weight, step.mirror) == (weight, mirror)]
    if same:
        return min(same, key=lambda i: abs(i - state.step))
    is_same_step = state.weight is None and len(steps) == len(state.steps)
    is_lowered = is_same_step and 0 < steps[state.step].weight < weight
    below = [i for i, step in enumerate(steps) if step.weight <= weight and (step.weight > 0) == (weight > 0)]
    if is_lowered or not below:
        has = f"{state.challenger} is at {percent(weight / WHOLE)}"
        raise NotInPlace(
            f"{has}, and the steps would lower it" if is_lowered else f"{has}, and every step is above that"
        )
    return max(below, key=lambda i: (steps[i].weight, -abs(i - state.step)))


def evidence_under(
    plan: Plan,
    before: Plan | None,
    states: tuple[RolloutState, RolloutState],
    evidence: Evidence,
    version: int,
) -> Evidence:
    """The evidence under another plan; `states`: before and after; `version`: of the ledger from now on.

    A check that is new counts from this ledger version on; one that is gone takes its evidence with it.
    """
    old, new = states
    moved = _evidence_step(new) - _evidence_step(old)
    came = new_checks(before, plan) if before else frozenset[str]()
    gone = new_checks(plan, before) if before else frozenset[str]()
    titles = {check.title for check in plan.checks}
    since = {title: first for title, first in evidence.since.items() if title in titles}
    return replace(
        evidence,
        strata=[_restepped(stratum, moved, gone) for stratum in evidence.strata],
        firsts={step + moved: dict(kinds) for step, kinds in evidence.firsts.items()},
        limits={title: limit for title, limit in evidence.limits.items() if title not in gone},
        again=evidence.again.without(gone),
        kpis=_without(evidence.kpis, gone),
        coverage=_without(evidence.coverage, gone),
        ranked=_without(evidence.ranked, gone),
        label_pairs=_without(evidence.label_pairs, gone),
        since=since | dict.fromkeys(came if evidence.strata else (), version),
    )


def _without(by_title: dict[str, T], gone: frozenset[str]) -> dict[str, T]:
    return {title: found for title, found in by_title.items() if title not in gone}


def _evidence_step(state: RolloutState) -> int:
    """The number under which the present evidence is kept: the watch comes after the last step."""
    return len(state.steps) if state.phase in (Phase.PROMOTED, Phase.ROLLED_BACK) else state.step


def _restepped(stratum: Stratum, moved: int, gone: frozenset[str]) -> Stratum:
    events = {kind: events for kind, events in stratum.events.items() if kind not in gone}
    copies = stratum.copies.without(gone)
    return replace(stratum, step=stratum.step + moved, events=events, copies=copies)


def new_checks(before: Plan, after: Plan) -> frozenset[str]:
    """The titles of the checks that only the second plan has."""
    return frozenset(check.title for check in after.checks) - {check.title for check in before.checks}
