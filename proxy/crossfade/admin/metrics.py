"""Metrics for Prometheus, made from one `MetricsView` for each scrape (names: design 3.5).

Rule: nothing is counted, summed or kept here. Cardinality is that of the configuration: nothing that
a client sends becomes a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from crossfade.control.views import MetricsView, RolloutView, TrafficView
from crossfade.rollout.machine import Phase
from crossfade.stats.histogram import Histogram

Labels = tuple[str, ...]

EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def render(view: MetricsView, accept: str) -> tuple[bytes, str]:
    """The page and its media type: the text format, or OpenMetrics for a scraper that asks for it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ViewCollector(view))
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _ViewCollector(Collector):
    def __init__(self, view: MetricsView) -> None:
        self.view = view

    def collect(self) -> Iterator[Metric]:
        view = self.view
        yield from _of_process(view)
        yield from _of_traffic(view.traffic)
        yield from _of_losses(view.traffic)
        yield from _of_routes(view)
        yield from _of_rollouts(view.rollouts)
        yield from _of_decisions(view)


def _of_process(view: MetricsView) -> Iterator[Metric]:
    config, workers = view.config, view.workers
    yield _gauge("crossfade_build_info", "Always 1.", ["version"], [((view.version,), 1)])
    yield _gauge(
        "crossfade_config_last_reload_successful",
        "1 if the configuration file as last read is in use.",
        [],
        [((), config.ok)],
    )
    yield _gauge(
        "crossfade_config_last_reload_success_timestamp_seconds",
        "When the configuration in use was loaded.",
        [],
        [((), config.loaded_at)],
    )
    yield _gauge(
        "crossfade_state_writable",
        "0 while decisions cannot be written; no exposure rises then.",
        [],
        [((), view.store_ok)],
    )
    yield _gauge(
        "crossfade_worker_up",
        "1 if the worker lives.",
        ["worker"],
        [((str(w.worker),), w.up) for w in workers],
    )
    yield _counter(
        "crossfade_worker_restarts_total",
        "Workers that died or hung and were replaced; counts they had not reported are lost.",
        ["worker"],
        [((str(w.worker),), w.restarts) for w in workers],
    )
    yield _gauge(
        "crossfade_loop_lag_seconds",
        "Seconds by which the worker's event loop is late.",
        ["worker"],
        [((str(w.worker),), w.loop_lag) for w in workers],
    )


def _of_traffic(traffic: TrafficView) -> Iterator[Metric]:
    served = [((cell.route, cell.backend, cell.role), cell) for cell in traffic.cells]
    failures = Counter[Labels]()  # summed over roles, as this metric has no label for them
    for (route, backend, _), cell in served:
        failures.update({(route, backend, stage): n for stage, n in cell.failures.items()})
    codes = (((*labels, str(code)), n) for labels, cell in served for code, n in cell.codes.items())
    by_backend = ["route", "backend", "role"]
    yield _counter("crossfade_requests", "Requests by assigned backend.", [*by_backend, "code"], codes)
    yield _histogram(
        "crossfade_request_duration_seconds",
        "Seconds from the request's head to the end of its response.",
        by_backend,
        ((labels, cell.duration) for labels, cell in served),
    )
    yield _histogram(
        "crossfade_first_byte_seconds",
        "Seconds from the request's head to the first byte of its response.",
        by_backend,
        ((labels, cell.first_byte) for labels, cell in served),
    )
    yield _counter(
        "crossfade_upstream_failures",
        "Exchanges that failed at a backend, by stage.",
        ["route", "backend", "stage"],
        failures.items(),
    )
    yield _counter(
        "crossfade_mirrors",
        "Mirrored requests, by outcome.",
        ["route", "backend", "outcome"],
        traffic.mirrors.items(),
    )
    yield _counter(
        "crossfade_endpoint_ejections",
        "How often a worker ejected an endpoint that kept failing.",
        ["backend", "endpoint"],
        traffic.ejections.items(),
    )


def _of_losses(traffic: TrafficView) -> Iterator[Metric]:
    """Requests that reached no backend, and contents that were not read."""
    yield _counter(
        "crossfade_refused",
        "Requests that the proxy itself answered with an error.",
        ["code", "stage"],
        ((tuple(what.partition(":")[::2]), n) for what, n in traffic.refused.items()),
    )
    yield _counter(
        "crossfade_observations",
        "Answers that were sampled as observations.",
        ["route"],
        (((route,), n) for route, n in traffic.observations.items()),
    )
    yield _counter(
        "crossfade_observations_dropped",
        "Observations dropped because a buffer was full, by reason.",
        ["reason"],
        (((reason,), n) for reason, n in traffic.dropped.items()),
    )
    yield _counter(
        "crossfade_unread_bodies",
        "Bodies that could not be read for a field that a route needs, by reason.",
        ["route", "reason"],
        ((tuple(what.split(":")), n) for what, n in traffic.unread.items()),
    )


def _of_routes(view: MetricsView) -> Iterator[Metric]:
    yield _gauge(
        "crossfade_split_weight",
        "A backend's share of a route, 0 to 1.",
        ["route", "backend"],
        [((s.route, backend), share) for s in view.splits for backend, share in s.split.items()],
    )
    yield _gauge(
        "crossfade_ledger_version",
        "Increases with every change of a route's split.",
        ["route"],
        [((s.route,), s.ledger_version) for s in view.splits],
    )
    yield _gauge(
        "crossfade_in_flight",
        "Requests in flight.",
        ["backend"],
        [((b.name,), b.in_flight) for b in view.backends],
    )
    yield _gauge(
        "crossfade_endpoint_up",
        "1 if the endpoint passes its probes.",
        ["backend", "endpoint"],
        [((b.name, e.url), e.up) for b in view.backends for e in b.endpoints],
    )

    yield _gauge(
        "crossfade_backend_panic",
        "1 while no endpoint passes its probes; then all get the requests that no fallback can answer.",
        ["backend"],
        [((b.name,), b.panic) for b in view.backends],
    )


def _of_rollouts(rollouts: list[RolloutView]) -> Iterator[Metric]:
    yield _gauge(
        "crossfade_rollout_phase",
        "1 for the phase that the rollout is in.",
        ["route", "challenger", "phase"],
        [((r.route, r.challenger, phase), phase == r.phase) for r in rollouts for phase in Phase],
    )
    yield _gauge(
        "crossfade_rollout_step",
        "The step that the rollout is in, from 0.",
        ["route", "challenger"],
        [((r.route, r.challenger), r.step) for r in rollouts],
    )
    yield _gauge(
        "crossfade_rollout_no_way_back",
        "1 while a rollout that should end does not, because the champion is down.",
        ["route", "challenger"],
        [((r.route, r.challenger), r.no_way_back) for r in rollouts],
    )
    yield _gauge(
        "crossfade_check_evidence",
        "Evidence against the challenger (log e-value); the check FAILs when it reaches the bound.",
        ["route", "challenger", "check", "bound"],
        [
            ((r.route, r.challenger, v.check, f"{v.bound:.4g}"), v.evidence)
            for r in rollouts
            for v in r.verdicts
            if v.evidence is not None and v.bound is not None
        ],
    )


def _of_decisions(view: MetricsView) -> Iterator[Metric]:
    yield _histogram(
        "crossfade_decision_to_traffic_seconds",
        "Seconds from a decision until every worker serves by it, with the write to disk if that comes first.",
        [],
        [((), view.decision_to_traffic)],
    )
    decisions = view.decisions.items()
    yield _counter("crossfade_decisions", "Decisions in the journal.", ["route", "action"], decisions)


def _counter(name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _histogram(
    name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, held in samples:
        buckets = [("+Inf" if edge == inf else str(edge), n) for edge, n in held.cumulative(EDGES)]
        family.add_metric(values, buckets, sum_value=held.total)
    return family
