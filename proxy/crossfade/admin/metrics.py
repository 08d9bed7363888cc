"""Metrics for Prometheus, read from the control plane at the moment of a scrape (names: design 3.5).

Rule: nothing is counted twice or kept here. Counts are those of the controller, already summed over
workers and never reset; a ledger version is a stratum of the tests and no label, so cells are summed
over it. Cardinality is that of the configuration: nothing a client sends becomes a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from crossfade.control.controller import Controller
from crossfade.control.views import StatusView
from crossfade.rollout.machine import Phase
from crossfade.stats.counts import Cell, CountsTable
from crossfade.stats.histogram import Histogram

Labels = tuple[str, ...]

EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def render(controller: Controller, accept: str, now: float) -> tuple[bytes, str]:
    """The page and its media type: the text format, or OpenMetrics for a scraper that asks for it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ControlCollector(controller, now))
    encode, media = choose_encoder(accept)
    return encode(registry), media


class ControlCollector(Collector):
    def __init__(self, controller: Controller, now: float) -> None:
        self.controller = controller
        self.now = now

    def collect(self) -> Iterator[Metric]:
        status = self.controller.status(self.now)
        yield from of_process(status)
        yield from of_traffic(self.controller.totals)
        yield from of_losses(self.controller.totals)
        yield from of_routes(status)
        yield from of_rollouts(status)
        yield histogram(
            "crossfade_decision_to_traffic_seconds",
            "From a decision until every worker serves by it, its disk included where that comes first.",
            [],
            [((), self.controller.decision_to_traffic)],
        )
        decided = self.controller.decided.items()
        yield counter("crossfade_decisions", "Decisions in the journal.", ["route", "action"], decided)


def of_process(status: StatusView) -> Iterator[Metric]:
    config, workers = status.config, status.workers
    yield gauge("crossfade_build_info", "Always 1.", ["version"], [((status.version,), 1)])
    yield gauge(
        "crossfade_config_last_reload_successful",
        "1 if the configuration file as last read is in use.",
        [],
        [((), config.ok)],
    )
    yield gauge(
        "crossfade_config_last_reload_success_timestamp_seconds",
        "When the configuration in use was loaded.",
        [],
        [((), config.loaded_at)],
    )
    yield gauge(
        "crossfade_state_writable",
        "0 while decisions cannot be written; no exposure rises then.",
        [],
        [((), status.store_ok)],
    )
    yield gauge(
        "crossfade_worker_up",
        "1 if the worker lives.",
        ["worker"],
        [((str(w.worker),), w.up) for w in workers],
    )
    yield counter(
        "crossfade_worker_restarts_total",
        "Workers that died or hung, and were replaced; what they had not reported yet is lost.",
        ["worker"],
        [((str(w.worker),), w.restarts) for w in workers],
    )
    yield gauge(
        "crossfade_loop_lag_seconds",
        "How late the worker's event loop runs.",
        ["worker"],
        [((str(w.worker),), w.loop_lag) for w in workers],
    )


def of_traffic(totals: CountsTable) -> Iterator[Metric]:
    served = summed(totals.cells.values())
    codes, failures = Counter[Labels](), Counter[Labels]()
    for (route, backend, role), cell in served.items():
        codes.update({(route, backend, role, str(code)): n for code, n in cell.codes.items()})
        failures.update({(route, backend, stage): n for stage, n in cell.failures.items()})
    by_backend = ["route", "backend", "role"]
    yield counter("crossfade_requests", "Requests by assigned backend.", [*by_backend, "code"], codes.items())
    yield histogram(
        "crossfade_request_duration_seconds",
        "From the request's head to the end of its answer.",
        by_backend,
        ((labels, cell.duration) for labels, cell in served.items()),
    )
    yield histogram(
        "crossfade_first_byte_seconds",
        "From the request's head to the first byte of its answer.",
        by_backend,
        ((labels, cell.first_byte) for labels, cell in served.items()),
    )
    yield counter(
        "crossfade_upstream_failures",
        "Exchanges that failed at a backend, by stage.",
        ["route", "backend", "stage"],
        failures.items(),
    )
    yield counter(
        "crossfade_mirrors",
        "Mirrored requests, by how they ended.",
        ["route", "backend", "outcome"],
        totals.mirrors.items(),
    )
    yield counter(
        "crossfade_endpoint_ejections",
        "How often a worker began to pass over an endpoint that kept failing.",
        ["backend", "endpoint"],
        totals.ejections.items(),
    )


def of_losses(totals: CountsTable) -> Iterator[Metric]:
    """What never came to a backend, and what was not looked into."""
    yield counter(
        "crossfade_refused",
        "Requests that the proxy itself answered.",
        ["code", "stage"],
        ((tuple(what.partition(":")[::2]), n) for what, n in totals.refused.items()),
    )
    yield counter(
        "crossfade_observations_dropped",
        "Observations that there was no room for, by reason.",
        ["reason"],
        (((reason,), n) for reason, n in totals.dropped.items()),
    )
    yield counter(
        "crossfade_unread_bodies",
        "Bodies that a route asked for a field of, and that could not be read.",
        ["route", "reason"],
        ((tuple(what.split(":")), n) for what, n in totals.unread.items()),
    )


def of_routes(status: StatusView) -> Iterator[Metric]:
    yield gauge(
        "crossfade_split_weight",
        "A backend's share of a route, 0 to 1.",
        ["route", "backend"],
        [((r.name, backend), share) for r in status.routes for backend, share in r.split.items()],
    )
    yield gauge(
        "crossfade_ledger_version",
        "Rises with every change of a route's split.",
        ["route"],
        [((r.name,), r.ledger_version) for r in status.routes],
    )
    yield gauge(
        "crossfade_in_flight",
        "Requests in flight.",
        ["backend"],
        [((b.name,), b.in_flight) for b in status.backends],
    )
    yield gauge(
        "crossfade_endpoint_up",
        "1 if the endpoint passes its probes.",
        ["backend", "endpoint"],
        [((b.name, e.url), e.up) for b in status.backends for e in b.endpoints],
    )


def of_rollouts(status: StatusView) -> Iterator[Metric]:
    yield gauge(
        "crossfade_rollout_phase",
        "1 for the phase that the rollout is in.",
        ["route", "challenger", "phase"],
        [((r.route, r.challenger, phase), phase == r.phase) for r in status.rollouts for phase in Phase],
    )
    yield gauge(
        "crossfade_rollout_step",
        "The step that the rollout is in, from 0.",
        ["route", "challenger"],
        [((r.route, r.challenger), r.step) for r in status.rollouts],
    )
    yield gauge(
        "crossfade_check_evidence",
        "Evidence against the challenger (log e-value); the check FAILs when it reaches the bound.",
        ["route", "challenger", "check", "bound"],
        [
            ((r.route, r.challenger, v.check, f"{v.bound:.4g}"), v.evidence)
            for r in status.rollouts
            for v in r.verdicts
            if v.evidence is not None and v.bound is not None
        ],
    )


def summed(cells: Iterable[Cell]) -> dict[tuple[str, str, str], Cell]:
    """One cell for each (route, backend, role), over all ledger versions."""
    out: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        labels = (cell.route, cell.backend, cell.role)
        out.setdefault(labels, Cell(*labels, 0)).merge(cell)
    return out


def counter(name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def gauge(name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def histogram(
    name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, held in samples:
        buckets = [("+Inf" if edge == inf else str(edge), n) for edge, n in held.cumulative(EDGES)]
        family.add_metric(values, buckets, sum_value=held.total)
    return family
