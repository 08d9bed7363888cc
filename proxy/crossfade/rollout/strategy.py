"""Strategies: presets that expand what the operator wrote to one frozen plan of steps and checks.

Rule: a plan always has a step and a check, and what is written wins over the preset. Strategies
whose question time alone cannot answer (champion_challenger, ab_test) never promote by themselves:
their last step wants an operator. So does a last step without live traffic, whatever the strategy,
and each step that gives the challenger nothing at all (a preview for testers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from crossfade.config import units
from crossfade.config.model import CheckConfig, RolloutConfig
from crossfade.rollout.machine import Step
from crossfade.rollout.plan import Check, Fuse, Plan
from crossfade.scale import WHOLE

if TYPE_CHECKING:
    from crossfade.config.rollout import Strategy

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Preset(NamedTuple):
    """The steps (but for their requests), the checks, and whether the last step wants an approval."""

    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    approval: bool


def check_of(config: CheckConfig) -> Check:
    limit = getattr(config, config.bound)
    check = Check(config.metric, config.bound, limit, "", config.quantile, config.name, config.query)
    return replace(check, title=title_of(check))


def title_of(check: Check) -> str:
    """Short and stable: `error_rate <= 1%`, `p99 latency <= 1.25 x champion`."""
    sign = "<=" if check.bound.startswith("max") else ">="
    if check.bound == "max_ratio":
        return f"{check.subject} {sign} {check.limit:.10g} x champion"
    champion = "champion + " if check.bound.endswith("increase") else ""
    return f"{check.subject} {sign} {champion}{limit_text(check)}"


def limit_text(check: Check) -> str:
    if check.metric in ("error_rate", "disagreement"):
        return units.percent(check.limit)
    return units.span(check.limit) if check.metric == "latency" else f"{check.limit:.10g}"


# Beside the champion, "not worse than it by more than a point"; alone or unseen, an absolute limit.
BESIDE = (check_of(CheckConfig(metric="error_rate", max_increase=0.01)),)
ALONE = (check_of(CheckConfig(metric="error_rate", max=0.05)),)

CANARY = (Step(100, HOUR), Step(500, HOUR), Step(2500, 4 * HOUR), Step(5000, 4 * HOUR))
COPIES = (Step(0, HOUR, mirror=1000), Step(0, DAY, mirror=WHOLE))

PRESETS: dict[Strategy, Preset] = {
    "canary": Preset(CANARY, BESIDE, False),
    "blue_green": Preset((Step(WHOLE, 10 * MINUTE),), ALONE, False),
    "shadow": Preset((*COPIES, *CANARY), ALONE + BESIDE, False),
    "champion_challenger": Preset((Step(1000, 7 * DAY),), BESIDE, True),
    "ab_test": Preset((Step(5000, 14 * DAY),), BESIDE, True),
}


def expand(rollout: RolloutConfig) -> Plan:
    preset = PRESETS[rollout.strategy]
    steps = steps_of(rollout) or tuple(replace(s, min_requests=rollout.min_requests) for s in preset.steps)
    if preset.approval or not steps[-1].weight:
        steps = (*steps[:-1], replace(steps[-1], approval=True))
    fuse = rollout.fuse
    return Plan(
        strategy=rollout.strategy,
        champion=rollout.champion,
        challenger=rollout.challenger,
        steps=steps,
        checks=tuple(check_of(c) for c in rollout.checks) or preset.checks,
        fuse=Fuse(fuse.consecutive_errors, fuse.error_share, fuse.of_last) if fuse else None,
        max_step_time=rollout.max_step_time,
        on_undecided=rollout.on_undecided,
        watch=rollout.watch,
        warm_up=rollout.warm_up,
        alpha=rollout.alpha,
        advance_early=rollout.advance_early,
    )


def steps_of(rollout: RolloutConfig) -> tuple[Step, ...]:
    """The steps as written."""
    return tuple(
        Step(
            s.weight,
            s.hold,
            s.approval or not (s.weight or s.mirror),
            s.min_requests or rollout.min_requests,
            s.mirror,
        )
        for s in rollout.steps
    )


def checks_for_step(plan: Plan, step: int) -> tuple[Check, ...]:
    """The checks that this step's evidence can answer; len(plan.steps) is the watch.

    Copies are answered beside no live traffic of the challenger's, so what compares with the champion
    waits for a step with a weight. In a preview there is nothing to ask.
    """
    if step == len(plan.steps) or plan.steps[step].weight:
        return plan.checks
    return tuple(c for c in plan.checks if not c.is_live) if plan.steps[step].mirror else ()


def split_for_step(split: dict[str, int], champion: str, challenger: str, weight: int) -> dict[str, int]:
    """Weights with the challenger at `weight`, the champion at the rest, and all others as they are.

    Where others leave less room than `weight`, the challenger gets what room there is.
    """
    others = {name: w for name, w in split.items() if name not in (champion, challenger)}
    room = WHOLE - sum(others.values())
    given = min(weight, room)
    return {**others, champion: room - given, challenger: given}
