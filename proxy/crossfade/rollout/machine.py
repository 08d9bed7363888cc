"""The rollout machine: a table (phase, event) → transition. Only its transitions set a phase.

Rule (law 5): exposure of a challenger rises only by BEGIN (the operator wrote the rollout), PASS, STEP_TIMEOUT
(the operator wrote `on_undecided: advance`), APPROVAL_TIMEOUT (the operator wrote `then: advance`), PROMOTE of the loop (the operator wrote `act: true`), WATCH_ENDED (the operator
wrote how long `watch` holds back) or an operator's resume or promote. A pair that is not in the table raises. An aborted or rolled back rollout leaves its phase only by `retry` or
`restart`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NamedTuple

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
    """The first eight come from the health loop; the others are commands of an operator, and of the loop by `act: true`."""

    BEGIN = "begin"  # the challenger can take its first traffic
    PASS = "pass"  # the step has held and each check passed
    STEP_TIMEOUT = "step_timeout"  # max_step_time is over and the plan says `on_undecided: advance`
    APPROVAL_TIMEOUT = "approval_timeout"  # nobody approved within the step's limit; `then` says what follows
    FAIL = "fail"  # a check or the fuse FAILed
    WATCH_ENDED = "watch_ended"  # the watch after the promote is over
    NO_WAY_BACK = "no_way_back"  # it should end, but a backend that would get its traffic is down
    WAY_BACK = "way_back"  # that backend is up again, and nothing ends the rollout any more
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLLBACK = "rollback"
    RETRY = "retry"
    RESTART = "restart"  # a new attempt from any phase


class Step(msgspec.Struct, frozen=True):
    """`weight`: out of 10 000; `hold`: seconds; `approval`: an operator must approve the next step; `gate`: a webhook must say go.

    `approval_within`: seconds until `approval_then` is done instead; without it, an approval has no limit.

    `mirror`: share of the route's requests that are copied to the challenger, out of 10 000. A step without
    weight and mirror is a preview: only testers reach the challenger.
    """

    weight: int
    hold: float
    approval: bool = False
    min_requests: int = 1
    mirror: int = 0
    approval_within: float | None = None
    approval_then: Literal["abort", "advance", "pause"] = "pause"
    gate: bool = False


class RolloutState(msgspec.Struct, frozen=True):
    """The state of one rollout; times are served time in seconds (law 14), except `since_at`, which is wall time.

    `since`: when the step (or the phase) began; `since_at`: the same moment, only for display. `patience_from`: when max_step_time began; a resume restarts it.
    `begun`: the challenger has had its first traffic of this attempt. `reason`: of the last transition.
    `asked_at`: when the approval was asked for. `no_way_back`: its last event says so. `identity`: champion and challenger, each by
    name and version; `content`: the challenger alone. `weight`: what the challenger has out of 10 000 where no step has it, after
    an edit of the steps. `holdback`: what the plan holds back for the champion in a watch, out of 10 000; `held_back`: what it
    holds back in this watch, which an edit of the plan does not change.
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
    no_way_back: bool = False
    since_at: float = 0.0
    asked_at: float = 0.0
    weight: int | None = None
    holdback: int = 0
    held_back: int = 0

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
        """Whether a FAIL still ends the rollout."""
        return self.is_running or self.is_watched

    @property
    def is_last_step(self) -> bool:
        return self.step == len(self.steps) - 1


def later(state: RolloutState, seconds: float) -> RolloutState:
    """With all its times later, so that this time does not count."""
    until = None if state.watch_until is None else state.watch_until + seconds
    return replace(
        state,
        started=state.started + seconds,
        since=state.since + seconds,
        patience_from=state.patience_from + seconds,
        asked_at=state.asked_at + seconds if state.asked_at else 0.0,
        watch_until=until,
    )


class NotAllowedError(Exception):
    """The phase does not accept this event."""


def exposure(state: RolloutState) -> int:
    """The weight that the challenger should have, out of 10 000."""
    match state.phase:
        case Phase.PROGRESSING | Phase.PAUSED:
            kept = state.steps[state.step].weight if state.weight is None else state.weight
            return kept if state.begun else 0
        case Phase.PROMOTED:
            return WHOLE - state.held_back
        case Phase.ABORTED | Phase.ROLLED_BACK:
            return 0


def mirrored(state: RolloutState) -> int:
    """The share of the route's requests that are copied to the challenger, out of 10 000."""
    return state.steps[state.step].mirror if state.is_running and state.begun else 0


def active_step(state: RolloutState) -> int | None:
    """The step whose weights are in force: len(steps) after a promote, None if the challenger gets no traffic."""
    match state.phase:
        case Phase.PROGRESSING | Phase.PAUSED:
            return state.step if state.begun else None
        case Phase.PROMOTED:
            return len(state.steps)
        case Phase.ABORTED | Phase.ROLLED_BACK:
            return None


def _begin(state: RolloutState, now: float) -> RolloutState:
    if state.begun:
        raise NotAllowedError("the rollout has begun already")
    return replace(state, begun=True, since=now, patience_from=now)


def _pass_step(state: RolloutState, now: float) -> RolloutState:
    if not state.begun:
        raise NotAllowedError("a step that has not begun cannot pass")
    if state.steps[state.step].approval:
        return replace(state, phase=Phase.PAUSED, awaits_approval=True, asked_at=now)
    return _next_step(state, now)


def _next_step(state: RolloutState, now: float) -> RolloutState:
    """The next step, or the promote after the last."""
    if state.is_last_step:
        return _promote(state, now)
    return replace(
        state,
        phase=Phase.PROGRESSING,
        step=state.step + 1,
        weight=None,
        since=now,
        patience_from=now,
        awaits_approval=False,
    )


def _stop_asking(state: RolloutState, now: float) -> RolloutState:
    """With `then: pause`, a resume is at the same step and asks again. For `then: abort` the loop aborts."""
    step = state.steps[state.step]
    if not state.awaits_approval or step.approval_within is None or step.approval_then == "abort":
        raise NotAllowedError("the step has no approval that ends by time")
    if step.approval_then == "advance":
        return _next_step(state, now)
    return replace(state, awaits_approval=False)


def _pause(state: RolloutState, now: float) -> RolloutState:
    return replace(state, phase=Phase.PAUSED)


def _resume(state: RolloutState, now: float) -> RolloutState:
    if state.awaits_approval:
        return _next_step(state, now)
    return replace(state, phase=Phase.PROGRESSING, patience_from=now)


def _promote(state: RolloutState, now: float) -> RolloutState:
    """A challenger that has more than the holdback leaves keeps it: no customer goes back but by a rollback."""
    until = now + state.watch if state.watch > 0 else None
    return replace(
        state,
        phase=Phase.PROMOTED,
        begun=True,
        weight=None,
        since=now,
        watch_until=until,
        held_back=min(state.holdback, WHOLE - exposure(state)) if until is not None else 0,
        awaits_approval=False,
    )


def _end_watch(state: RolloutState, now: float) -> RolloutState:
    if not state.is_watched:
        raise NotAllowedError("the rollout is not being watched")
    return replace(state, watch_until=None, held_back=0)


def _abort(state: RolloutState, now: float) -> RolloutState:
    return replace(state, phase=Phase.ABORTED, since=now, awaits_approval=False)


def _rollback(state: RolloutState, now: float) -> RolloutState:
    return replace(state, phase=Phase.ROLLED_BACK, since=now, watch_until=None, held_back=0)


def _fail_watch(state: RolloutState, now: float) -> RolloutState:
    if not state.is_watched:
        raise NotAllowedError("the rollout is not being watched")
    return _rollback(state, now)


def _retry(state: RolloutState, now: float) -> RolloutState:
    return replace(
        state,
        phase=Phase.PROGRESSING,
        step=0,
        begun=False,
        weight=None,
        attempt=state.attempt + 1,
        started=now,
        since=now,
        patience_from=now,
        awaits_approval=False,
        watch_until=None,
        held_back=0,
    )


def _lose_way_back(state: RolloutState, now: float) -> RolloutState:
    if not state.is_guarded:
        raise NotAllowedError("the rollout is not being watched")
    return replace(state, no_way_back=True)


def _find_way_back(state: RolloutState, now: float) -> RolloutState:
    if not state.no_way_back:
        raise NotAllowedError("the rollout has a way back")
    return replace(state, no_way_back=False)


def _stay(state: RolloutState, now: float) -> RolloutState:
    return state


class Transition(NamedTuple):
    """`targets`: the phases that it may lead to."""

    apply: Callable[[RolloutState, float], RolloutState]
    targets: tuple[Phase, ...]


P = Phase
TABLE: dict[tuple[Phase, Event], Transition] = {
    (P.PROGRESSING, Event.BEGIN): Transition(_begin, (P.PROGRESSING,)),
    (P.PROGRESSING, Event.PASS): Transition(_pass_step, (P.PROGRESSING, P.PAUSED, P.PROMOTED)),
    (P.PROGRESSING, Event.STEP_TIMEOUT): Transition(_pass_step, (P.PROGRESSING, P.PAUSED, P.PROMOTED)),
    (P.PROGRESSING, Event.FAIL): Transition(_abort, (P.ABORTED,)),
    (P.PROGRESSING, Event.PAUSE): Transition(_pause, (P.PAUSED,)),
    (P.PROGRESSING, Event.PROMOTE): Transition(_promote, (P.PROMOTED,)),
    (P.PROGRESSING, Event.ABORT): Transition(_abort, (P.ABORTED,)),
    (P.PAUSED, Event.APPROVAL_TIMEOUT): Transition(_stop_asking, (P.PAUSED, P.PROGRESSING, P.PROMOTED)),
    (P.PAUSED, Event.FAIL): Transition(_abort, (P.ABORTED,)),
    (P.PAUSED, Event.RESUME): Transition(_resume, (P.PROGRESSING, P.PROMOTED)),
    (P.PAUSED, Event.PROMOTE): Transition(_promote, (P.PROMOTED,)),
    (P.PAUSED, Event.ABORT): Transition(_abort, (P.ABORTED,)),
    (P.PROMOTED, Event.FAIL): Transition(_fail_watch, (P.ROLLED_BACK,)),
    (P.PROMOTED, Event.WATCH_ENDED): Transition(_end_watch, (P.PROMOTED,)),
    (P.PROMOTED, Event.ROLLBACK): Transition(_rollback, (P.ROLLED_BACK,)),
    (P.PROGRESSING, Event.NO_WAY_BACK): Transition(_lose_way_back, (P.PROGRESSING,)),
    (P.PAUSED, Event.NO_WAY_BACK): Transition(_lose_way_back, (P.PAUSED,)),
    (P.PROMOTED, Event.NO_WAY_BACK): Transition(_lose_way_back, (P.PROMOTED,)),
    (P.PROGRESSING, Event.WAY_BACK): Transition(_find_way_back, (P.PROGRESSING,)),
    (P.PAUSED, Event.WAY_BACK): Transition(_find_way_back, (P.PAUSED,)),
    (P.PROMOTED, Event.WAY_BACK): Transition(_find_way_back, (P.PROMOTED,)),
    # Abort is for emergencies: it works in every phase, and a second abort is no error.
    (P.PROMOTED, Event.ABORT): Transition(_rollback, (P.ROLLED_BACK,)),
    (P.ABORTED, Event.ABORT): Transition(_stay, (P.ABORTED,)),
    (P.ROLLED_BACK, Event.ABORT): Transition(_stay, (P.ROLLED_BACK,)),
    (P.ABORTED, Event.RETRY): Transition(_retry, (P.PROGRESSING,)),
    (P.ROLLED_BACK, Event.RETRY): Transition(_retry, (P.PROGRESSING,)),
    **{(phase, Event.RESTART): Transition(_retry, (P.PROGRESSING,)) for phase in P},
}


# What an operator can order; a refusal names no event that only the health loop can cause.
COMMANDS = frozenset(
    (Event.PAUSE, Event.RESUME, Event.PROMOTE, Event.ABORT, Event.ROLLBACK, Event.RETRY, Event.RESTART)
)


def advance(state: RolloutState, event: Event, now: float, reason: str = "") -> RolloutState:
    """The state after an event; raises NotAllowedError when the table has no such pair."""
    transition = TABLE.get((state.phase, event))
    if transition is None:
        allowed = ", ".join(e for phase, e in TABLE if phase is state.phase and e in COMMANDS)
        raise NotAllowedError(
            f"a rollout that is {state.phase} does not accept {event}; it accepts {allowed}"
        )
    after = transition.apply(state, now)
    return after if after is state else replace(after, reason=reason, no_way_back=event is Event.NO_WAY_BACK)


def action_of(event: Event, before: RolloutState, after: RolloutState) -> str:
    """The action that a transition was, in the words of the glossary, for the journal."""
    if after.phase is not before.phase:
        actions = {P.PAUSED: "pause", P.PROMOTED: "promote", P.ABORTED: "abort", P.ROLLED_BACK: "rollback"}
        return actions.get(after.phase, "advance" if after.step > before.step else str(event))
    return "advance" if after.step > before.step else str(event)
