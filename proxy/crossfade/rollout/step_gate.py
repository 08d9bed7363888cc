"""The gate of a step: somebody outside who must say go before the challenger gets more (`gate` of a step).

Rule: silence, a refusal and an old answer are UNDECIDED, and nothing advances on them. The gate is asked only when all else that
the step waits for is there, and its answer is an input of the decision, so a replay needs no webhook.
"""

from __future__ import annotations

import msgspec

from crossfade.rollout.machine import RolloutState
from crossfade.rollout.verdict import duration

LASTS = 60.0  # seconds that a go is good for; what it was asked about may have changed after that


class GateAnswer(msgspec.Struct, frozen=True):
    """`at`: served time of the answer; `attempt` and `step`: what it was asked about. `detail`: in words."""

    at: float
    attempt: int
    step: int
    is_open: bool
    detail: str


def answer_for(state: RolloutState, answer: GateAnswer | None) -> GateAnswer | None:
    """The answer, if it is about this step of this attempt."""
    if answer is None or (answer.attempt, answer.step) != (state.attempt, state.step):
        return None
    return answer if answer.at >= state.since else None


def closed(state: RolloutState, answer: GateAnswer | None, now: float) -> str:
    """Why the gate of the present step is not open; "" if it is, or there is none."""
    if not state.steps[state.step].gate:
        return ""
    found = answer_for(state, answer)
    if found is None:
        return "the gate (UNDECIDED: it is being asked)"
    if not found.is_open:
        return f"the gate (UNDECIDED: {found.detail})"
    if now - found.at > LASTS:
        return f"the gate (UNDECIDED: its go is {duration(now - found.at)} old, and it is being asked again)"
    return ""


def is_refused(state: RolloutState, answer: GateAnswer | None) -> bool:
    """Whether its last answer in this step was no go."""
    found = answer_for(state, answer)
    return found is not None and not found.is_open
