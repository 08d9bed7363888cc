"""The views of routes: what they are, and what they did."""

from __future__ import annotations

from collections.abc import Iterable

from crossfade.config.model import StickyConfig
from crossfade.control.disagreement import disagreements
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.views import BackendNumbers, MirrorView, RouteView, SplitView
from crossfade.quality.feedback import LABEL
from crossfade.rollout.evidence import sum_cells
from crossfade.scale import LATENCY_TARGETS, OF_LABELS, WHOLE
from crossfade.stats.counts import SHADOW, Cell, CountsTable


class RouteNumbers:
    """Counts since the start and of the last seconds, by route and backend."""

    def __init__(self, totals: CountsTable, recent: CountsTable, seconds: float) -> None:
        self.totals = _by_place(totals.cells.values())
        self.recent = _by_place(recent.cells.values())
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


def _by_place(cells: Iterable[Cell]) -> dict[tuple[str, str, bool], list[Cell]]:
    """By route, backend, and whether the cell counts mirrored copies."""
    out: dict[tuple[str, str, bool], list[Cell]] = {}
    for cell in cells:
        out.setdefault((cell.route, cell.backend, cell.role == SHADOW), []).append(cell)
    return out


def route_view(route: RouteRuntime, numbers: RouteNumbers) -> RouteView:
    config, split = route.config, _split(route)
    roles: dict[str, str] = {m.to: SHADOW for m in config.mirror}
    roles |= {name: route.roles.get(name, "member") for name in split}
    return RouteView(
        name=route.name,
        split=split,
        ledger_version=route.record.ledger.version,
        champion=route.champion,
        sticky=[_spelled(s) for s in config.sticky],
        mirrors=[MirrorView(m.to, m.sample / WHOLE) for m in config.mirror],
        fallback=config.fallback,
        backends={name: numbers.of(route.name, name, role) for name, role in roles.items()},
        config_differs=disagreements(config, route.record),
        drift=route.drifting,
        labelled=_labelled(route),
        has_drift=config.drift is not None,
        slo=config.slo,
        latency_target=None if config.slo is None else LATENCY_TARGETS[config.slo],
    )


def _labelled(route: RouteRuntime) -> list[str]:
    """Names of labels: those that checks ask for, or the usual one."""
    if route.config.feedback is None:
        return []
    checks = (check for rollout in route.rollouts.values() for check in rollout.plan.checks)
    return sorted({check.label for check in checks if check.metric in OF_LABELS}) or [LABEL]


def split_view(route: RouteRuntime) -> SplitView:
    return SplitView(route.name, _split(route), route.record.ledger.version)


def _split(route: RouteRuntime) -> dict[str, float]:
    """Of backends without a bucket too, if they have a role."""
    weights = dict.fromkeys(route.roles, 0) | route.record.ledger.weights
    return {name: weight / WHOLE for name, weight in weights.items()}


def _spelled(sticky: StickyConfig) -> str:
    """As `json:customer_id` or `client_ip`."""
    return f"{sticky.kind}:{sticky.name}" if sticky.name else sticky.kind
