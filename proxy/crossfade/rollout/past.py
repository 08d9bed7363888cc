"""The champion's past, for a challenger that has all of the traffic (blue_green, a last step of 100 %, a watch without a holdback).

Nobody is left to compare with, so its share of events is tested against an upper limit of the champion's share before. An upper
limit is taken because the share before is an estimate.

Rule: such a FAIL says that more requests have events than before, not that the model is the cause. A busy hour in which every
model fails looks the same, so the reason says so. The rate of false FAILs is the check's part of alpha in the step, while the
challenger's own share is at most the limit and its requests fail independently; Z_BEFORE adds at most 0.5 % where the margin is 0.
"""

from __future__ import annotations

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.verdict import percent
from crossfade.rollout.verdict_rule import Share
from crossfade.stats.sequential import LARGEST_SHARE, wilson

MIN_BEFORE = 500  # requests of the champion before, from which its share of errors is known
_UNKNOWN = 20  # requests added to what is known of the champion before, half of them with an event
_Z_BEFORE = 2.576  # of the upper limit of its share: 99.5 %
SAME_LOOK = "; a cause outside the model, such as a busy hour in which every model fails, would look the same"


def is_alone(evidence: Evidence, step: int) -> bool:
    """Whether the challenger has all of the traffic in this step."""
    present = evidence.of_step(step)
    return any(s.share == 1 for s in present) and not any(s.compares for s in present)


def most_before(before: Share, margin: float) -> float:
    """The largest share of events that is allowed: the upper limit of the share before, and `margin` more."""
    _, most = wilson(before.x + _UNKNOWN // 2, before.n + _UNKNOWN, _Z_BEFORE)
    return min(most + margin, LARGEST_SHARE)


def limit_text(allowed: float, before: Share) -> str:
    return (
        f"nobody is left to compare with, so the limit is {percent(allowed)}, from {before.x} of the champion's "
        f"{before.n} requests before"
    )
