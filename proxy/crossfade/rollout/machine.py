"""The rollout machine: a table (phase, event) → transition, and nothing else sets a phase.

Rule (law 5): exposure of a challenger rises only by BEGIN (the operator wrote the rollout), PASS, LAPSE
(the operator wrote `on_undecided: advance`) or an operator's resume or promote. A pair that is not in
the table raises. An aborted or rolled back rollout leaves its phase only by `retry`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.scale import WHOLE


class Phase(StrEnum):
    PROGRESSING = "progressing"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


class Event(StrEnum):
    """The first five come from the health loop, the others are the operator's verbs."""

    BEGIN = "begin"  # the challenger can take its first traffic
    PASS = "pass"  # the step has held and each check passed
    STEP_TIMEOUT = "step_timeout"  # max_step_time is over and the plan says to advance all the same
    FAIL = "fail"  # a check failed or the fuse blew
    WATCH_ENDED = "watch_ended"  # the watch after the promote is over
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLLBACK = "rollback"
    RETRY = "retry"


class Step(msgspec.Struct, frozen=True):
    """`weight` out of 10 000, `hold` in seconds; `approval`: an operator must say so before the next.

    `mirror`, out of 10 000: the share of the route's requests of which the challenger gets copies. A
    step with neither is a preview: only testers reach the challenger.
    """

    weight: int
    hold: float
    approval: bool = False
    min_requests: int = 1
    mirror: int = 0


class RolloutState(msgspec.Struct, frozen=True):
    """How far one rollout has come; times are wall-clock seconds.

    `since`: when the step (or the phase) began. `patience_from`: from when max_step_time counts; a
    resume starts it anew. `begun`: the challenger has had its first traffic of this attempt. `reason`:
    that of the last transition. `content`: which challenger this is, whatever the plan for it.
    """

    route: str
    strategy: str
    champion: str
    challenger: str
    identity: str
    steps: tuple[Step, ...]
    watch: float
    started: float
    since: float
    patience_from: float
    phase: Phase = Phase.PROGRESSING
    step: int = 0
    begun: bool = False
    attempt: int = 1
    watch_until: float | None = None
    awaits_approval: bool = False
    reason: str = ""
    content: str = ""

    @property
    def is_running(self) -> bool:
        return self.phase in (Phase.PROGRESSING, Phase.PAUSED)

    @property
    def has_failed(self) -> bool:
        return self.phase in (Phase.ABORTED, Phase.ROLLED_BACK)

    @property
    def is_watched(self) -> bool:
        return self.phase is Phase.PROMOTED and self.watch_until is not None

    @property
    def is_guarded(self) -> bool:
        """Whether a FAIL still ends it."""
        return self.is_running or self.is_watched

    @property
    def is_last_step(self) -> bool:
        return self.step == len(self.steps) - 1


class NotAllowedError(Exception):
    """This event means nothing in this phase."""


def exposure(state: RolloutState) -> int:
    """What the challenger's weight should be, out of 10 000."""
    match state.phase:
        case Phase.PROGRESSING | Phase.PAUSED:
            return state.steps[state.step].weight if state.begun else 0
        case Phase.PROMOTED:
            return WHOLE
        case Phase.ABORTED | Phase.ROLLED_BACK:
            return 0


def mirrored(state: RolloutState) -> int:
    """The share of the route's requests that the challenger gets copies of, out of 10 000."""
    return state.steps[state.step].mirror if state.is_running and state.begun else 0


def active_step(state: RolloutState) -> int | None:
    """Which of the plan's traffic stages is in force: a step, len(steps) once promoted, None at home."""
    match state.phase:
        case Phase.PROGRESSING | Phase.PAUSED:
            return state.step if state.begun else None
        case Phase.PROMOTED:
            return len(state.steps)
        case Phase.ABORTED | Phase.ROLLED_BACK:
            return None


def begin(state: RolloutState, now: float) -> RolloutState:
    if state.begun:
        raise NotAllowedError("the rollout has begun already")
    return replace(state, begun=True, since=now, patience_from=now)


def pass_step(state: RolloutState, now: float) -> RolloutState:
    if not state.begun:
        raise NotAllowedError("a step that has not begun cannot pass")
    if state.steps[state.step].approval:
        return replace(state, phase=Phase.PAUSED, awaits_approval=True)
    return onward(state, now)


def onward(state: RolloutState, now: float) -> RolloutState:
    """The next step, or the promote after the last."""
    if state.is_last_step:
        return promote(state, now)
    return replace(
        state,
        phase=Phase.PROGRESSING,
        step=state.step + 1,
        since=now,
        patience_from=now,
        awaits_approval=False,
    )


def pause(state: RolloutState, now: float) -> RolloutState:
    return replace(state, phase=Phase.PAUSED)


def resume(state: RolloutState, now: float) -> RolloutState:
    if state.awaits_approval:
        return onward(state, now)
    return replace(state, phase=Phase.PROGRESSING, patience_from=now)


def promote(state: RolloutState, now: float) -> RolloutState:
    until = now + state.watch if state.watch > 0 else None
    return replace(
        state, phase=Phase.PROMOTED, begun=True, since=now, watch_until=until, awaits_approval=False
    )


def end_watch(state: RolloutState, now: float) -> RolloutState:
    if not state.is_watched:
        raise NotAllowedError("the rollout is not being watched")
    return replace(state, watch_until=None)


def abort(state: RolloutState, now: float) -> RolloutState:
    return replace(state, phase=Phase.ABORTED, since=now, awaits_approval=False)


def rollback(state: RolloutState, now: float) -> RolloutState:
    return replace(state, phase=Phase.ROLLED_BACK, since=now, watch_until=None)


def fail_watch(state: RolloutState, now: float) -> RolloutState:
    if not state.is_watched:
        raise NotAllowedError("the rollout is not being watched")
    return rollback(state, now)


def retry(state: RolloutState, now: float) -> RolloutState:
    return replace(
        state,
        phase=Phase.PROGRESSING,
        step=0,
        begun=False,
        attempt=state.attempt + 1,
        started=now,
        since=now,
        patience_from=now,
    )


def stay(state: RolloutState, now: float) -> RolloutState:
    return state


class Transition(NamedTuple):
    """`targets` are the phases it may lead to."""

    apply: Callable[[RolloutState, float], RolloutState]
    targets: tuple[Phase, ...]


P = Phase
TABLE: dict[tuple[Phase, Event], Transition] = {
    (P.PROGRESSING, Event.BEGIN): Transition(begin, (P.PROGRESSING,)),
    (P.PROGRESSING, Event.PASS): Transition(pass_step, (P.PROGRESSING, P.PAUSED, P.PROMOTED)),
    (P.PROGRESSING, Event.STEP_TIMEOUT): Transition(pass_step, (P.PROGRESSING, P.PAUSED, P.PROMOTED)),
    (P.PROGRESSING, Event.FAIL): Transition(abort, (P.ABORTED,)),
    (P.PROGRESSING, Event.PAUSE): Transition(pause, (P.PAUSED,)),
    (P.PROGRESSING, Event.PROMOTE): Transition(promote, (P.PROMOTED,)),
    (P.PROGRESSING, Event.ABORT): Transition(abort, (P.ABORTED,)),
    (P.PAUSED, Event.FAIL): Transition(abort, (P.ABORTED,)),
    (P.PAUSED, Event.RESUME): Transition(resume, (P.PROGRESSING, P.PROMOTED)),
    (P.PAUSED, Event.PROMOTE): Transition(promote, (P.PROMOTED,)),
    (P.PAUSED, Event.ABORT): Transition(abort, (P.ABORTED,)),
    (P.PROMOTED, Event.FAIL): Transition(fail_watch, (P.ROLLED_BACK,)),
    (P.PROMOTED, Event.WATCH_ENDED): Transition(end_watch, (P.PROMOTED,)),
    (P.PROMOTED, Event.ROLLBACK): Transition(rollback, (P.ROLLED_BACK,)),
    # Abort is the panic button: it works in each phase, and pressing it twice is no error.
    (P.PROMOTED, Event.ABORT): Transition(rollback, (P.ROLLED_BACK,)),
    (P.ABORTED, Event.ABORT): Transition(stay, (P.ABORTED,)),
    (P.ROLLED_BACK, Event.ABORT): Transition(stay, (P.ROLLED_BACK,)),
    (P.ABORTED, Event.RETRY): Transition(retry, (P.PROGRESSING,)),
    (P.ROLLED_BACK, Event.RETRY): Transition(retry, (P.PROGRESSING,)),
}


def advance(state: RolloutState, event: Event, now: float, reason: str = "") -> RolloutState:
    """The state after an event; raises NotAllowedError when the table has no such pair."""
    transition = TABLE.get((state.phase, event))
    if transition is None:
        allowed = ", ".join(e for phase, e in TABLE if phase is state.phase)
        raise NotAllowedError(f"a rollout that is {state.phase} knows no {event}; it knows {allowed}")
    after = transition.apply(state, now)
    return after if after is state else replace(after, reason=reason)


def action_of(event: Event, before: RolloutState, after: RolloutState) -> str:
    """The glossary's word for what a transition did, for the journal."""
    if after.phase is not before.phase:
        wording = {P.PAUSED: "pause", P.PROMOTED: "promote", P.ABORTED: "abort", P.ROLLED_BACK: "rollback"}
        return wording.get(after.phase, "advance" if after.step > before.step else str(event))
    return "advance" if after.step > before.step else str(event)
