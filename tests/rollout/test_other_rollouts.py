"""Which transitions of a rollout wait for the others of its route."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.other_rollouts import held_by

STATE = RolloutState("r", "canary", "v2", "v3", "i", (), 0.0, 0.0, 0.0, 0.0, begun=True)
RUNNING, PROMOTED = STATE, replace(STATE, phase=Phase.PROMOTED)
ABORTED, UNBEGUN = replace(STATE, phase=Phase.ABORTED), replace(STATE, begun=False)
WAITS_FOR_END = "the end of the rollout of {}: abort what is not wanted"
WAITS_FOR_ROLLBACK = (
    "the rollback of v4, which was promoted, or a configuration that names it as the champion"
)


@pytest.mark.parametrize("before", [RUNNING, ABORTED])
@pytest.mark.parametrize(
    ("others", "held"),
    [
        ({}, ""),
        ({"v4": Phase.ABORTED, "v5": Phase.ROLLED_BACK}, ""),
        ({"v4": Phase.PROGRESSING}, WAITS_FOR_END.format("v4")),
        ({"v4": Phase.PAUSED, "v5": Phase.PROGRESSING}, WAITS_FOR_END.format("v4 and v5")),
        ({"v4": Phase.PROMOTED, "v5": Phase.PROGRESSING}, WAITS_FOR_ROLLBACK),
    ],
)
def test_a_promote_waits_for_all_others(before: RolloutState, others: dict[str, Phase], held: str) -> None:
    assert held_by(before, PROMOTED, others) == held


@pytest.mark.parametrize(
    ("before", "after", "waits"),
    [
        (UNBEGUN, RUNNING, True),  # its first traffic
        (ABORTED, RUNNING, True),  # a retry
        (RUNNING, replace(RUNNING, step=1), False),
        (RUNNING, replace(RUNNING, phase=Phase.PAUSED), False),
        (RUNNING, ABORTED, False),
        (PROMOTED, replace(RUNNING, phase=Phase.ROLLED_BACK), False),
        (PROMOTED, PROMOTED, False),
    ],
)
def test_a_beginning_waits_for_a_rollback_and_an_end_for_nobody(
    before: RolloutState, after: RolloutState, waits: bool
) -> None:
    assert held_by(before, after, {"v4": Phase.PROMOTED}) == (WAITS_FOR_ROLLBACK if waits else "")
    assert held_by(before, after, {"v4": Phase.PROGRESSING}) == ""
