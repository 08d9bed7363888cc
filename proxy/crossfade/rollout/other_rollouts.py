"""Several rollouts of one champion on one route: what one may not do as long as the others stand as they do.

Rule: a challenger takes the champion's place only when no other is on trial, since it takes the others' shares
with it; and none begins beside one that has taken it, as the champion that it would be held against is gone.
Which of two good challengers is the better one is left to an operator.
"""

from __future__ import annotations

from collections.abc import Mapping

from crossfade.rollout.machine import Phase, RolloutState

OtherPhases = Mapping[str, Phase]  # the other rollouts of the route, by challenger
NO_OTHERS: OtherPhases = {}


def held_by(before: RolloutState, after: RolloutState, other_phases: OtherPhases) -> str:
    """What this transition has to wait for; empty where nothing is in its way."""
    promotes = after.phase is Phase.PROMOTED and before.phase is not Phase.PROMOTED
    begins = after.is_running and (before.has_failed or (after.begun and not before.begun))
    in_charge = [name for name, phase in other_phases.items() if phase is Phase.PROMOTED]
    if in_charge and (promotes or begins):
        return f"the rollback of {in_charge[0]}, which was promoted, or a file that names it as the champion"
    on_trial = [name for name, phase in other_phases.items() if phase in (Phase.PROGRESSING, Phase.PAUSED)]
    if on_trial and promotes:
        return f"the end of the rollout of {' and '.join(on_trial)}: abort what is not wanted"
    return ""
