"""Several rollouts of one champion on one route: which transitions of one rollout the others block.

Rule: a challenger is promoted only when no other is on trial, because a promote takes the traffic of the others.
No rollout begins while another challenger is promoted, because the champion for its comparison is gone.
An operator decides which of two good challengers is better.
"""

from __future__ import annotations

from collections.abc import Mapping

from crossfade.rollout.machine import Phase, RolloutState

OtherPhases = Mapping[str, Phase]  # the other rollouts of the route, by challenger
NO_OTHERS: OtherPhases = {}


def held_by(before: RolloutState, after: RolloutState, other_phases: OtherPhases) -> str:
    """What this transition must wait for; empty if no other rollout blocks it."""
    promotes = after.phase is Phase.PROMOTED and before.phase is not Phase.PROMOTED
    begins = after.is_running and (before.has_failed or (after.begun and not before.begun))
    in_charge = [name for name, phase in other_phases.items() if phase is Phase.PROMOTED]
    if in_charge and (promotes or begins):
        return f"the rollback of {in_charge[0]}, which was promoted, or a configuration that names it as the champion"
    on_trial = [name for name, phase in other_phases.items() if phase in (Phase.PROGRESSING, Phase.PAUSED)]
    if on_trial and promotes:
        return f"the end of the rollout of {' and '.join(on_trial)}: abort what is not wanted"
    return ""
