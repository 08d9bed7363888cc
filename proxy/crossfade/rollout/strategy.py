"""Strategies: presets of steps and checks, and the plan that a configured rollout expands to.

Rule: a plan has at least one step and one check; the operator's settings replace the preset's. An approval is needed by the last
step of champion_challenger and ab_test, by a last step without live traffic, and by each step with neither weight nor mirror (a
preview for testers). Only this module of rollout/ imports the configuration's models.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from crossfade.config import units
from crossfade.config.model import CheckConfig, RolloutConfig, RouteConfig, StepConfig
from crossfade.config.rollout import LOSSES, SHARES, TIMES
from crossfade.rollout.drift import OF_DRIFT, SCORE_DRIFT
from crossfade.rollout.machine import RolloutState, Step
from crossfade.rollout.plan import Check, Fuse, Goal, Plan
from crossfade.scale import LATENCY_TARGETS, LEAST_CHANCE, WHOLE

if TYPE_CHECKING:
    from crossfade.config.rollout import Strategy

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Preset(NamedTuple):
    """`steps` without `min_requests`; `approval`: of the last step."""

    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    approval: bool


_RANGES = {"brier": (0.0, 1.0), "log_loss": (0.0, -log(LEAST_CHANCE))}  # of metrics that have one


def check_of(config: CheckConfig) -> Check:
    """The check with its title, made here once."""
    limit = getattr(config, config.bound)
    needed, among = config.readings if config.metric == "prometheus" else (1, 1)
    check = Check(
        config.metric,
        config.bound,
        limit,
        "",
        config.quantile,
        config.name,
        config.query,
        needed,
        among,
        "event" if config.metric == "accuracy" else config.kind or "amount",
        _RANGES.get(config.metric, config.range),
        config.missing,
        _then_of(config),
    )
    return replace(check, title=_title_of(check))


def _then_of(config: CheckConfig) -> Literal["", "hold", "abort"]:
    """Inputs are the same for both backends; the challenger's scores are its own."""
    if config.metric not in OF_DRIFT:
        return ""
    return config.then or ("abort" if config.metric == SCORE_DRIFT else "hold")


def _title_of(check: Check) -> str:
    """As `error_rate <= 1%`, `p99 latency <= 1.25 x champion`. Evidence is kept under it: another title loses evidence."""
    sign = "<=" if check.bound.startswith("max") else ">="
    if check.bound in ("max_ratio", "min_ratio"):
        return f"{check.subject} {sign} {check.limit:.10g} x champion"
    if check.metric == "kpi" and check.kind == "event":
        sign = f"(event) {sign}"
    elif check.range and check.metric not in _RANGES:
        sign = f"({check.range[0]:.10g} to {check.range[1]:.10g}) {sign}"
    if check.missing is not None:
        sign = f"(missing {check.missing:.10g}) {sign}"
    champion = "champion + " if check.bound.endswith("increase") else ""
    return f"{check.subject} {sign} {champion}{_limit_text(check)}"


def _limit_text(check: Check) -> str:
    if check.metric in SHARES:
        return units.percent(check.limit)
    return units.span(check.limit) if check.metric in TIMES else f"{check.limit:.10g}"


def unit_of(check: Check) -> str:
    """Of its limit and of its estimate: share, seconds, ratio (of the champion's value) or number."""
    if check.bound in ("max_ratio", "min_ratio"):
        return "ratio"
    if check.metric in SHARES:
        return "share"
    return "seconds" if check.metric in TIMES else "number"


# With live traffic on both sides a limit relative to the champion, otherwise an absolute one.
RELATIVE = (check_of(CheckConfig(metric="error_rate", max_increase=0.01)),)
ABSOLUTE = (check_of(CheckConfig(metric="error_rate", max=0.05)),)
REJECTED = (check_of(CheckConfig(metric="rejected", max_increase=0.01)),)
UNREADABLE = (check_of(CheckConfig(metric="unreadable", max_increase=0.01)),)  # where answers are read

CANARY = (Step(100, HOUR), Step(500, HOUR), Step(2500, 4 * HOUR), Step(5000, 4 * HOUR))
MIRRORS = (Step(0, HOUR, mirror=1000), Step(0, DAY, mirror=WHOLE))

PRESETS: dict[Strategy, Preset] = {
    "canary": Preset(CANARY, RELATIVE + REJECTED, False),
    "blue_green": Preset((Step(WHOLE, 10 * MINUTE),), ABSOLUTE + REJECTED, False),
    "shadow": Preset((*MIRRORS, *CANARY), ABSOLUTE + RELATIVE + REJECTED, False),
    "champion_challenger": Preset((Step(1000, 7 * DAY),), RELATIVE + REJECTED, True),
    "ab_test": Preset((Step(5000, 14 * DAY),), RELATIVE + REJECTED, True),
}


def plans_of(route: RouteConfig) -> dict[str, Plan]:
    """Of each rollout of the route, by challenger, in the order of the file."""
    return {each.challenger: expand(each, route.predicts, route.slo) for each in route.rollout}


def expand(rollout: RolloutConfig, predicts: bool = False, slo: str | None = None) -> Plan:
    """`predicts`: the route's answers are read for predictions. `slo`: its class of latency."""
    preset = PRESETS[rollout.strategy]
    steps = _steps_of(rollout) or tuple(replace(s, min_requests=rollout.min_requests) for s in preset.steps)
    if preset.approval or not steps[-1].weight:
        steps = (*steps[:-1], replace(steps[-1], approval=True))
    fuse = rollout.fuse
    watch, holdback = _watch_of(rollout)
    return Plan(
        strategy=rollout.strategy,
        champion=rollout.champion,
        challenger=rollout.challenger,
        steps=steps,
        checks=_with_target(
            tuple(check_of(c) for c in rollout.checks) or preset.checks + UNREADABLE * predicts, slo
        ),
        fuse=Fuse(fuse.consecutive_errors, fuse.error_share, fuse.of_last) if fuse else None,
        max_step_time=rollout.max_step_time,
        on_undecided=rollout.on_undecided,
        watch=watch,
        warm_up=rollout.warm_up,
        alpha=rollout.alpha,
        advance_early=rollout.advance_early,
        holdback=holdback,
        primary=_goal_of(rollout),
    )


def _with_target(checks: tuple[Check, ...], slo: str | None) -> tuple[Check, ...]:
    """And the p99 of the route's class, where none of the checks is of latency."""
    if slo is None or any(check.metric == "latency" for check in checks):
        return checks
    target = CheckConfig(metric="latency", quantile=0.99, max=LATENCY_TARGETS[slo])
    return (*checks, check_of(target))


def _goal_of(rollout: RolloutConfig) -> Goal | None:
    """By the first check of that name that compares with the champion; the rules ask for one."""
    wanted = rollout.primary
    named = [c for c in rollout.checks if wanted == (c.name if c.metric == "kpi" else c.metric)]
    check = next((c for c in named if c.bound in ("max_increase", "min_increase")), None)
    if check is None:
        return None
    lower = rollout.better == "lower" if rollout.better else check.metric in LOSSES
    return Goal(check_of(check).title, rollout.min_lift, lower, rollout.min_effect, rollout.act)


def _watch_of(rollout: RolloutConfig) -> tuple[float, int]:
    """(seconds, holdback)."""
    watch = rollout.watch
    return (watch, 0) if isinstance(watch, float) else (watch.for_, watch.holdback)


def _steps_of(rollout: RolloutConfig) -> tuple[Step, ...]:
    return tuple(_step_of(step, rollout.min_requests) for step in rollout.steps)


def _step_of(step: StepConfig, min_requests: int) -> Step:
    made = Step(
        step.weight,
        step.hold,
        bool(step.approval) or not (step.weight or step.mirror),
        step.min_requests or min_requests,
        step.mirror,
        gate=step.gate is not None,
    )
    limit = step.approval
    if isinstance(limit, bool):
        return made
    return replace(made, approval_within=limit.within, approval_then=limit.then)


def checks_for_step(plan: Plan, step: int) -> tuple[Check, ...]:
    """The checks that the step's evidence can answer; step len(plan.steps) is the watch.

    In a step of mirrors the challenger has no live traffic, so comparisons with the champion wait for a step with a
    weight. A preview has no checks.
    """
    if step == len(plan.steps) or plan.steps[step].weight:
        return plan.checks
    return tuple(c for c in plan.checks if not c.is_live) if plan.steps[step].mirror else ()


def split_for_step(
    split: dict[str, int], champion: str, challenger: str, weight: int, held_back: int = 0
) -> dict[str, int]:
    """The challenger gets `weight`, or what the other backends leave if that is less; the champion gets the rest.

    `held_back`: the part of what both have, out of 10 000, that the champion keeps; no more than it has.
    """
    others = {name: w for name, w in split.items() if name not in (champion, challenger)}
    room = WHOLE - sum(others.values())
    kept = min(room * held_back // WHOLE, split.get(champion, 0))
    given = min(weight, room - kept)
    return {**others, champion: room - given, challenger: given}


def state_with_split(state: RolloutState, split: Mapping[str, int]) -> RolloutState:
    """The state after an operator's split. A split without the holdback of a watch ends the holdback."""
    theirs, ours = split.get(state.champion, 0), split.get(state.challenger, 0)
    keeps = theirs == (theirs + ours) * state.held_back // WHOLE
    return state if keeps else replace(state, held_back=0)
