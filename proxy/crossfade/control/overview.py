"""All routes at a glance: one small row each, for a page that shows hundreds of them.

Rule: no row needs the disk, and none the sums of all counts: numbers are those of the window of the last seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import msgspec

from crossfade.control.controller_state import ControllerState
from crossfade.control.disagreement import disagreements
from crossfade.control.recent import Recent
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_runtime import RouteRuntime
from crossfade.rollout.evidence import requests_not_abandoned
from crossfade.rollout.machine import Phase
from crossfade.rollout.verdict import Finding, Verdict, once_ended
from crossfade.scale import LATENCY_TARGETS, WHOLE

_WORST_FIRST = (Verdict.FAIL, Verdict.VOID, Verdict.UNDECIDED, Verdict.PASS)
_NEWS_FIRST = (Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTED, Phase.ABORTED, Phase.ROLLED_BACK)


class WorstVerdict(msgspec.Struct):
    """`margin`: from 1, no evidence at all, to 0, a FAIL; null where the check has no evidence of this kind."""

    check: str
    verdict: str
    margin: float | None
    reason: str


class OverviewRow(msgspec.Struct):
    """One route, and of its rollouts the one that has most to say; `rollouts`: how many there are.

    `split`: fractions. `steps`: how many. `since`: wall time at which the step began. `time_left`: seconds until the step can end, at
    the present rate of requests, and `requests_left`: those that the challenger still needs; null where nobody can say. Rates and
    `p99` (seconds) are of the last 10 s; `latency_target`: what the p99 should keep by the `slo` of the route, null without one. `alarms`: what needs a look, in words.
    """

    route: str
    split: dict[str, float]
    champion: str | None
    challenger: str | None
    strategy: str | None
    phase: str | None
    step: int | None
    steps: int | None
    since: float | None
    time_left: float | None
    requests_left: int | None
    worst: WorstVerdict | None
    requests_per_second: float
    error_share: float | None
    p99: float | None
    latency_target: float | None
    alarms: list[str]
    rollouts: int


class Overview(msgspec.Struct):
    routes: list[OverviewRow]


def overview(state: ControllerState) -> Overview:
    recent, none = state.recent.read(state.served), Recent()
    seconds = state.window.seconds(state.served)
    return Overview(
        [_row(route, state, recent.get(route.name, none), seconds) for route in state.routes.values()]
    )


def _row(
    route: RouteRuntime,
    state: ControllerState,
    recent: Recent,
    seconds: float,
) -> OverviewRow:
    rollout = min(route.rollouts.values(), key=_order, default=None)
    answered = recent.requests - recent.abandoned
    at = None if rollout is None else rollout.state
    left = None if rollout is None else _requests_left(rollout)
    return OverviewRow(
        route=route.name,
        split={name: weight / WHOLE for name, weight in route.record.ledger.weights.items() if weight},
        champion=route.champion,
        challenger=None if at is None else at.challenger,
        strategy=None if at is None else at.strategy,
        phase=None if at is None else str(at.phase),
        step=None if at is None else at.step,
        steps=None if at is None else len(at.steps),
        since=None if at is None else at.since_at,
        time_left=None if rollout is None else _time_left(rollout, left, state.served, recent, seconds),
        requests_left=left,
        worst=None if rollout is None else _worst_of(rollout),
        requests_per_second=recent.requests / seconds,
        error_share=recent.errors / answered if answered else None,
        p99=recent.p99,
        latency_target=None if route.config.slo is None else LATENCY_TARGETS[route.config.slo],
        alarms=alarms(route, state),
        rollouts=len(route.rollouts),
    )


def _order(rollout: RolloutRuntime) -> tuple[int, int]:
    """Those under way go before those that have ended; of these, the worst verdict first."""
    found = worst(rollout.verdicts)
    verdict = len(_WORST_FIRST) if found is None else _WORST_FIRST.index(Verdict(found.verdict))
    return _NEWS_FIRST.index(rollout.state.phase), verdict


def _worst_of(rollout: RolloutRuntime) -> WorstVerdict | None:
    found = worst(rollout.verdicts)
    if found is not None and not rollout.state.is_guarded:
        found.reason = once_ended(found.reason)
    return found


def worst(verdicts: Iterable[Finding]) -> WorstVerdict | None:
    """The one nearest to a FAIL."""
    found = min(verdicts, key=lambda v: (_WORST_FIRST.index(v.verdict), _margin(v, 1.0)), default=None)
    if found is None:
        return None
    has_margin = found.evidence is not None and found.bound is not None
    margin = _margin(found, 1.0) if has_margin else None
    return WorstVerdict(found.check, str(found.verdict), margin, found.reason)


def _margin(found: Finding, unknown: float) -> float:
    if found.evidence is None or not found.bound:
        return unknown
    return min(max(1 - found.evidence / found.bound, 0.0), 1.0)


def _requests_left(rollout: RolloutRuntime) -> int | None:
    """By the plan, and by the checks that are not decided. None where the rollout is not in a step."""
    state = rollout.state
    if state.phase is not Phase.PROGRESSING or not state.begun:
        return None
    step = state.steps[state.step]
    needed = step.min_requests if step.weight or step.mirror else 0
    had = sum(requests_not_abandoned(s.challenger) for s in rollout.evidence.of_step(state.step))
    undecided = [v.eta_requests or 0 for v in rollout.verdicts if v.verdict is Verdict.UNDECIDED]
    return max(needed - had, *undecided, 0)


def _time_left(
    rollout: RolloutRuntime,
    requests: int | None,
    served: float,
    recent: Recent,
    seconds: float,
) -> float | None:
    state = rollout.state
    if state.watch_until is not None:
        return max(state.watch_until - served, 0.0)
    if requests is None:
        return None
    step = state.steps[state.step]
    hold = max(step.hold - (served - state.since), 0.0)
    if not requests:
        return hold
    had = recent.served.get((state.challenger, not step.weight), 0)
    return max(hold, float(ceil(requests * seconds / had))) if had else None


def alarms(route: RouteRuntime, state: ControllerState) -> list[str]:
    """What of this route needs a look, in words."""
    out = []
    for name, rollout in route.rollouts.items():
        if rollout.state.no_way_back:
            out.append(f"{name} has no way back: {' and '.join(rollout.home_down) or 'the champion'} is down")
        if rollout.state.awaits_approval:
            out.append(f"{name} waits for an approval")
    out += [f"drift of {what}" for what in route.drifting]
    silent = [to for (at, to) in state.mirror_watch.silent if at == route.name]
    out += [f"the mirror to {to} gets nothing" for to in silent]
    weights = route.record.ledger.weights.items()
    out += [f"no endpoint of {name} is up" for name, weight in weights if weight and not state.is_up(name)]
    differing = disagreements(route.config, route.record)
    out += [f"the file differs: {each.key}" for each in differing]
    return out
