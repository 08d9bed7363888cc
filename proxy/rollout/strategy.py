"""Strategies: presets that expand what the operator wrote to one frozen plan of steps and checks.

Rule: a plan always has a step and a check, and what is written wins over the preset. Strategies
whose question time alone cannot answer (shadow, champion_challenger, ab_test) never promote by
themselves: their last step wants an operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from proxy.config.model import CheckConfig, FuseConfig, RolloutConfig
from proxy.rollout.machine import WHOLE, Step

if TYPE_CHECKING:
    from proxy.config.rollout import Strategy

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Preset(NamedTuple):
    """(weight, hold) of each step, the checks, and whether the last step wants an approval."""

    steps: tuple[tuple[int, float], ...]
    checks: tuple[CheckConfig, ...]
    approval: bool


# Beside the champion, "not worse than it by more than a point"; alone or unseen, an absolute limit.
BESIDE = (CheckConfig(metric="error_rate", max_increase=0.01),)
ALONE = (CheckConfig(metric="error_rate", max=0.05),)

PRESETS: dict[Strategy, Preset] = {
    "canary": Preset(((100, HOUR), (500, HOUR), (2500, 4 * HOUR), (5000, 4 * HOUR)), BESIDE, False),
    "blue_green": Preset(((WHOLE, 10 * MINUTE),), ALONE, False),
    "shadow": Preset(((0, DAY),), ALONE, True),
    "champion_challenger": Preset(((1000, 7 * DAY),), BESIDE, True),
    "ab_test": Preset(((5000, 14 * DAY),), BESIDE, True),
}


class Plan(msgspec.Struct, frozen=True):
    """What a rollout does, with nothing left to default. After the last step passes comes the promote."""

    strategy: str
    champion: str
    challenger: str
    steps: tuple[Step, ...]
    checks: tuple[CheckConfig, ...]
    fuse: FuseConfig | None
    max_step_time: float | None
    on_undecided: Literal["pause", "abort", "advance"]
    watch: float
    alpha: float


def expand(rollout: RolloutConfig) -> Plan:
    preset = PRESETS[rollout.strategy]
    steps = tuple(
        Step(s.weight, s.hold, s.approval, s.min_requests or rollout.min_requests) for s in rollout.steps
    ) or tuple(Step(weight, hold, False, rollout.min_requests) for weight, hold in preset.steps)
    if preset.approval:
        steps = (*steps[:-1], msgspec.structs.replace(steps[-1], approval=True))
    return Plan(
        strategy=rollout.strategy,
        champion=rollout.champion,
        challenger=rollout.challenger,
        steps=steps,
        checks=rollout.checks or preset.checks,
        fuse=rollout.fuse,
        max_step_time=rollout.max_step_time,
        on_undecided=rollout.on_undecided,
        watch=rollout.watch,
        alpha=rollout.alpha,
    )


def split_for_step(home: dict[str, int], champion: str, challenger: str, weight: int) -> dict[str, int]:
    """Weights with the challenger at `weight`, the champion at the rest, and other members as at home.

    Where others leave less room than `weight`, the challenger gets what room there is.
    """
    others = {name: w for name, w in home.items() if name not in (champion, challenger)}
    room = WHOLE - sum(others.values())
    given = min(weight, room)
    return {**others, champion: room - given, challenger: given}
