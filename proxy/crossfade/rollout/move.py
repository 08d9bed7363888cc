"""The next move of a rollout, given its findings: an event for the machine, or what it waits for.

Rule: a FAIL acts at once in each phase in which the challenger has traffic. An advance needs all of: the hold (or,
with `advance_early`, proof that ends it), the requests, a PASS of each check, and `min_up` of the challenger's
endpoints up. Missing requests and VOID never advance, not even after max_step_time (laws 4 and 6).
Nothing ends while a backend that would get the traffic is down (law 15): an answer with errors is better than none.
Other rollouts on the same route may block a move (rollout.other_rollouts). Where the plan says `act`, the recommendation ends the
rollout, after the step's hold. Where a step has a gate, nothing that gives the challenger more goes past it (rollout.step_gate).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossfade.rollout.machine import Event, Phase, RolloutState, advance
from crossfade.rollout.other_rollouts import NO_OTHERS, OtherPhases, held_by
from crossfade.rollout.plan import Plan
from crossfade.rollout.recommendation import Advice, Recommendation
from crossfade.rollout.step_gate import GateAnswer, closed, is_refused
from crossfade.rollout.verdict import Finding, Verdict, duration, percent
from crossfade.scale import WHOLE
from crossfade.stats.sequential import bound


class Facts(NamedTuple):
    """`requests`: of the challenger in this step; `ready`: enough of its endpoints (`min_up`) are up.

    `home_down`: backends that would get traffic if the rollout ended now, and that are down. `recommendation`: if the plan acts by it. `gate`: the last answer of
    the step's gate.
    """

    findings: Sequence[Finding]
    requests: int
    ready: bool
    other_phases: OtherPhases = NO_OTHERS
    home_down: tuple[str, ...] = ()
    recommendation: Recommendation | None = None
    gate: GateAnswer | None = None


ENDS = (Event.FAIL, Event.ABORT)  # the events with which the health loop takes a challenger's traffic


class Move(NamedTuple):
    """`event` with its `reason` for the journal; without an event, `waiting_for` is what the rollout waits for.

    `asks_gate`: nothing but the gate of the step is missing.
    """

    event: Event | None
    reason: str = ""
    waiting_for: str = ""
    asks_gate: bool = False


def next_move(plan: Plan, state: RolloutState, facts: Facts, now: float) -> Move:
    move = _move_with_way_back(state, facts, _move_alone(plan, state, facts, now))
    if move.event is None or not facts.other_phases:
        return move
    held = held_by(state, advance(state, move.event, now), facts.other_phases)
    return Move(None, waiting_for=held) if held else move


def _move_with_way_back(state: RolloutState, facts: Facts, move: Move) -> Move:
    """This move, or what is done instead where the traffic cannot go back.

    A rollout without a way back goes on only when there is one again. Until then it stays as it is, as the cause may
    be common: after a promote the champion has no traffic that would show it.
    """
    if facts.home_down and (move.event in ENDS or state.no_way_back):
        down = " and ".join(facts.home_down)
        if state.no_way_back:
            return Move(None, waiting_for=f"an endpoint of {down} that is up; {state.reason}")
        return Move(Event.NO_WAY_BACK, f"there is nobody to go back to: {down} is down; {move.reason}")
    if state.no_way_back and move.event not in ENDS:
        return Move(Event.WAY_BACK, "there is somebody to go back to again, and nothing ends the rollout now")
    return move


def _move_alone(plan: Plan, state: RolloutState, facts: Facts, now: float) -> Move:
    """The move that it would make if it were the only rollout of its route."""
    failed = [v for v in facts.findings if v.verdict is Verdict.FAIL]
    if failed and (state.is_running or state.is_watched):
        return Move(Event.FAIL, "; ".join(f"{v.check}: {v.reason}" for v in failed))
    match state.phase:
        case Phase.PROGRESSING if state.begun:
            return _step_move(plan, state, facts, now)
        case Phase.PROGRESSING if facts.ready:
            return Move(Event.BEGIN, f"{plan.challenger} is up")
        case Phase.PROGRESSING:
            return _start_move(plan, state, facts, now)
        case Phase.PROMOTED:
            return _watch_move(state, facts, now)
        case Phase.PAUSED if state.awaits_approval:
            end, gate = _recommended_end(plan, state, facts), closed(state, facts.gate, now)
            if end is not None and end.event not in ENDS and gate:
                return Move(None, waiting_for=gate, asks_gate=True)
            return end or _approval_move(plan, state, facts, now)
        case Phase.PAUSED:
            return Move(None, waiting_for="an operator, because it is paused: resume, promote or abort")
        case Phase.ABORTED | Phase.ROLLED_BACK:
            return Move(None, waiting_for=f"retry, or a new version of {plan.challenger}")


def _start_move(plan: Plan, state: RolloutState, facts: Facts, now: float) -> Move:
    """While no endpoint of the challenger has come up: max_step_time limits this too."""
    missing = f"enough endpoints of {plan.challenger} that are up"
    if plan.max_step_time is None or now - state.patience_from < plan.max_step_time:
        return Move(None, waiting_for=missing)
    return _timeout_move(plan, 0, facts, [missing])


def _approval_move(plan: Plan, state: RolloutState, facts: Facts, now: float) -> Move:
    """The wait for an approval. Its limit never advances a step that would not pass now."""
    step, wanted = state.steps[state.step], "an approval: resume, promote or abort"
    if step.approval_within is None:
        return Move(None, waiting_for=wanted)
    asked = state.asked_at or state.since + step.hold  # a state of format 4 does not know when it asked
    left = asked + step.approval_within - now
    if left > 0:
        return Move(
            None, waiting_for=f"{wanted}; without one it will {step.approval_then} in {duration(left)}"
        )
    reason = f"nobody approved within {duration(step.approval_within)}"
    if step.approval_then == "abort":
        return Move(Event.ABORT, reason)
    missing = _unmet(plan, facts) if step.approval_then == "advance" else []
    gate = closed(state, facts.gate, now) if step.approval_then == "advance" else ""
    if missing or gate:
        what = missing[0] if missing else gate
        return Move(None, waiting_for=f"{what}; {reason}, so it will advance then", asks_gate=not missing)
    return Move(Event.APPROVAL_TIMEOUT, f"{reason}; `then` is {step.approval_then}")


def _watch_move(state: RolloutState, facts: Facts, now: float) -> Move:
    """The end of a watch that holds back gives the challenger more, so it needs endpoints that are up, as each rise does."""
    if state.watch_until is None:
        return Move(None, waiting_for="nothing: the rollout is complete")
    kept = percent(state.held_back / WHOLE)
    if now < state.watch_until:
        until_then = f"; {state.champion} keeps {kept} until then" if state.held_back else ""
        return Move(
            None, waiting_for=f"the end of the watch in {duration(state.watch_until - now)}{until_then}"
        )
    if not state.held_back:
        return Move(Event.WATCH_ENDED, "the watch ended without a FAIL")
    gets = f"{state.challenger} gets the {kept} that {state.champion} kept"
    if not facts.ready:
        missing = f"enough endpoints of {state.challenger} that are up"
        return Move(None, waiting_for=f"{missing}: the watch is over, and {gets}")
    return Move(Event.WATCH_ENDED, f"the watch ended without a FAIL: {gets}")


def _step_move(plan: Plan, state: RolloutState, facts: Facts, now: float) -> Move:
    step = state.steps[state.step]
    held = now - state.since
    missing = []
    early = held < step.hold and _is_proven(facts.findings, plan.advance_early)
    if held < step.hold and not early:
        missing.append(f"{duration(step.hold - held)} of the hold of {duration(step.hold)}")
    needed = step.min_requests if step.weight or step.mirror else 0  # a preview has no traffic
    if facts.requests < needed:
        kind = "requests" if step.weight else "copies answered"
        missing.append(f"{needed - facts.requests} more {kind} on {plan.challenger}")
    missing += _unmet(plan, facts)
    gate = closed(state, facts.gate, now)
    end = _recommended_end(plan, state, facts, bool(missing)) if held >= step.hold else None
    if end is not None and (end.event in ENDS or not gate):
        return end
    if end is None and not missing and facts.recommendation is not None and state.is_last_step:
        missing.append(f"a recommendation: {facts.recommendation.reason}")
    if gate and not missing:
        return _gate_move(plan, state, facts, gate, now)
    if not missing:
        text = f", {facts.requests} requests, every check passed" if needed else ", a preview without traffic"
        text += ", every limit proven to be kept: advanced early" if early else ""
        text += f", the gate said go ({facts.gate.detail})" if step.gate and facts.gate else ""
        return Move(Event.PASS, f"held {duration(held)}{text}")
    if not _is_over(plan, state, now):
        return Move(None, waiting_for=missing[0])
    out = _timeout_move(plan, needed, facts, missing)
    return _gate_move(plan, state, facts, gate, now) if gate and out.event is Event.STEP_TIMEOUT else out


def _is_over(plan: Plan, state: RolloutState, now: float) -> bool:
    """Whether the step has had max_step_time, and has held."""
    held = now - state.since >= state.steps[state.step].hold
    return held and plan.max_step_time is not None and now - state.patience_from >= plan.max_step_time


def _gate_move(plan: Plan, state: RolloutState, facts: Facts, gate: str, now: float) -> Move:
    """Where only the gate is missing. It is asked before max_step_time is held against it; no timeout goes past it."""
    if not is_refused(state, facts.gate) or not _is_over(plan, state, now):
        return Move(None, waiting_for=gate, asks_gate=True)
    reason = f"max_step_time is over and the step still waits for {gate}"
    return Move(Event.ABORT if plan.on_undecided == "abort" else Event.PAUSE, reason)


def _recommended_end(
    plan: Plan, state: RolloutState, facts: Facts, is_unmet: bool | None = None
) -> Move | None:
    """The end of the rollout that the recommendation asks for, where the plan acts by it.

    KEEP ends each step that has held. PROMOTE ends the last step, if nothing else is missing there.
    """
    said = facts.recommendation
    if said is None or said.advice is Advice.UNDECIDED:
        return None
    if said.advice is Advice.KEEP:
        return Move(Event.ABORT, f"KEEP {plan.champion}: {said.reason}")
    unmet = bool(_unmet(plan, facts)) if is_unmet is None else is_unmet
    if unmet or not state.is_last_step:
        return None
    return Move(Event.PROMOTE, f"PROMOTE: {said.reason}")


def _unmet(plan: Plan, facts: Facts) -> list[str]:
    """What an advance needs whatever the hold and the requests: a PASS of each check, and endpoints that are up.

    Where the recommendation decides, it stands in for the check of its number.
    """
    stands_in = plan.primary.title if plan.primary and facts.recommendation else ""
    missing = [
        f"{v.check} ({v.verdict}: {v.reason})"
        for v in facts.findings
        if v.verdict is not Verdict.PASS and v.check != stands_in
    ]
    if not facts.ready:
        missing.append(f"enough endpoints of {plan.challenger} that are up")
    return missing


def _is_proven(findings: Sequence[Finding], alpha: float | None) -> bool:
    """Whether each check that has a test is proven at `alpha` to keep its limit, which is more than a PASS."""
    tested = [v for v in findings if v.evidence is not None]
    if alpha is None or not tested:
        return False
    return all(v.proof is not None and v.proof >= bound(alpha) for v in tested)


def _timeout_move(plan: Plan, needed: int, facts: Facts, missing: Sequence[str]) -> Move:
    """The move after max_step_time. With VOID it is only a pause; with too few requests it never advances."""
    reason = f"max_step_time is over and the step still waits for {missing[0]}"
    void = any(v.verdict is Verdict.VOID for v in facts.findings)
    if plan.on_undecided == "abort" and not void:
        return Move(Event.ABORT, reason)
    if plan.on_undecided == "advance" and not void and facts.ready and facts.requests >= needed:
        return Move(Event.STEP_TIMEOUT, f"{reason}; on_undecided is advance")
    return Move(Event.PAUSE, reason)
