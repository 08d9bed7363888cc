"""Views, built on demand from what the controller holds. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from crossfade.config.model import BackendConfig, StickyConfig
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.seam import WorkerStatus
from crossfade.control.views import (
    BackendNumbers,
    BackendView,
    EndpointView,
    MirrorView,
    RolloutView,
    RouteView,
    StepView,
    VerdictView,
)
from crossfade.rollout.evidence import sum_cells
from crossfade.rollout.machine import RolloutState
from crossfade.rollout.plan import Plan
from crossfade.rollout.verdict import Verdict, duration, percent
from crossfade.scale import WHOLE
from crossfade.stats.counts import SHADOW, Cell, CountsTable

ANOTHER_SPLIT = "another split: by the file, or by `crossfade split`"  # where there is no rollout


class Numbers:
    """Counts since the proxy began and of the last seconds, looked up by route and backend."""

    def __init__(self, totals: CountsTable, recent: CountsTable, seconds: float) -> None:
        self.totals = by_place(totals.cells.values())
        self.recent = by_place(recent.cells.values())
        self.seconds = seconds

    def of(self, route: str, backend: str, role: str) -> BackendNumbers:
        key = (route, backend, role == SHADOW)
        since, now = sum_cells(self.totals.get(key, ())), sum_cells(self.recent.get(key, ()))
        answered = now.requests - now.abandoned
        return BackendNumbers(
            role=role,
            requests=since.requests,
            errors=since.errors,
            fell_back=since.fell_back,
            rate=now.requests / self.seconds,
            error_share=now.errors / answered if answered else 0.0,
            p50=now.duration.quantile(0.5),
            p99=now.duration.quantile(0.99),
            first_byte_p50=now.first_byte.quantile(0.5),
        )


def by_place(cells: Iterable[Cell]) -> dict[tuple[str, str, bool], list[Cell]]:
    """By route, backend, and whether the cell counts mirrored copies."""
    out: dict[tuple[str, str, bool], list[Cell]] = {}
    for cell in cells:
        out.setdefault((cell.route, cell.backend, cell.role == SHADOW), []).append(cell)
    return out


def route_view(live: RouteRuntime, numbers: Numbers) -> RouteView:
    config, ledger = live.config, live.record.ledger
    weights = dict.fromkeys(live.roles, 0) | ledger.weights
    roles: dict[str, str] = {m.to: SHADOW for m in config.mirror}
    roles |= {name: live.roles.get(name, "member") for name in weights}
    return RouteView(
        name=live.name,
        split={name: weight / WHOLE for name, weight in weights.items()},
        ledger_version=ledger.version,
        champion=live.champion,
        sticky=[spelled(s) for s in config.sticky],
        mirrors=[MirrorView(m.to, m.sample / WHOLE) for m in config.mirror],
        fallback=config.fallback,
        backends={name: numbers.of(live.name, name, role) for name, role in roles.items()},
    )


def spelled(sticky: StickyConfig) -> str:
    """As one would write it: `json:customer_id`, `client_ip`."""
    return f"{sticky.kind}:{sticky.name}" if sticky.name else sticky.kind


def backend_view(
    name: str,
    config: BackendConfig,
    down: frozenset[tuple[str, str]],
    workers: Iterable[WorkerStatus],
) -> BackendView:
    endpoints = [EndpointView(e.url, (name, e.name) not in down) for e in config.endpoints]
    in_flight = sum(w.in_flight.get(name, 0) for w in workers if w.up)
    return BackendView(name, endpoints, in_flight, config.version)


def rollout_view(live: RouteRuntime, rollout: RolloutRuntime, now: float) -> RolloutView:
    state = rollout.state
    return RolloutView(
        route=live.name,
        strategy=state.strategy,
        champion=state.champion,
        challenger=state.challenger,
        phase=str(state.phase),
        step=state.step,
        steps=[StepView(s.weight / WHOLE, s.hold, s.approval, s.mirror / WHOLE) for s in state.steps],
        weight=live.record.ledger.weights.get(state.challenger, 0) / WHOLE,
        since=state.since,
        elapsed=max(now - state.since, 0.0),
        waiting_for=rollout.waiting_for,
        verdicts=verdict_views(rollout),
    )


def verdict_views(rollout: RolloutRuntime) -> list[VerdictView]:
    return [VerdictView(**msgspec.structs.asdict(v)) for v in rollout.verdicts]


def would_change(rollout: RolloutRuntime) -> list[str]:
    """One sentence for each thing that would lead to another decision, the nearest first."""
    plan, state = rollout.plan, rollout.state
    out = [f"it waits for {rollout.waiting_for}"] if rollout.waiting_for else []
    if not state.is_guarded:
        return out
    for v in rollout.verdicts:
        if v.verdict is Verdict.UNDECIDED and v.eta_requests:
            out.append(f"{v.check}: about {v.eta_requests} more requests on {plan.challenger} decide it")
        elif v.evidence is not None and v.bound is not None and v.verdict is not Verdict.FAIL:
            out.append(f"{v.check}: evidence of {v.evidence:.1f} would be a FAIL at {v.bound:.1f}")
    return out + limits_of(plan, state)


def limits_of(plan: Plan, state: RolloutState) -> list[str]:
    """What acts without evidence: the fuse, and time."""
    out = []
    if plan.fuse is not None:
        share = f"{percent(plan.fuse.error_share)} of the last {plan.fuse.of_last}"
        out.append(f"the fuse: {plan.fuse.consecutive_errors} errors in a row, or {share}, end it at once")
    if plan.max_step_time is not None and state.is_running:
        out.append(
            f"max_step_time: after {duration(plan.max_step_time)} undecided it will {plan.on_undecided}"
        )
    return out
