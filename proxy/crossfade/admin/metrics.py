"""Metrics for Prometheus, made from one `MetricsView` for each scrape (names: design 3.5).

Rule: nothing is counted, summed or kept here. Cardinality is that of the configuration: nothing that
a client sends becomes a label. Of the names of feedback, which its senders give, a bounded number does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from crossfade.admin.drift_metrics import of_drift
from crossfade.admin.families import counter, gauge
from crossfade.admin.feedback_metrics import of_feedback, of_prediction_logs
from crossfade.admin.rollout_metrics import of_decisions, of_rollouts
from crossfade.admin.traffic_metrics import of_losses, of_queues, of_streams, of_traffic
from crossfade.control.views import MetricsView


def render(view: MetricsView, accept: str, others: Sequence[Metric] = ()) -> tuple[bytes, str]:
    """The page and its media type: the text format, or OpenMetrics for a scraper that asks for it.

    `others`: metrics that are not of the view: of the processes, and of certificates.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ViewCollector(view, others))
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _ViewCollector(Collector):
    def __init__(self, view: MetricsView, others: Sequence[Metric]) -> None:
        self.view = view
        self.others = others

    def collect(self) -> Iterator[Metric]:
        yield from self.others
        yield from families_of(self.view)


def families_of(view: MetricsView) -> Iterator[Metric]:
    """All that the view has, also those without a sample now."""
    yield from _of_process(view)
    yield from of_traffic(view)
    yield from of_losses(view.traffic)
    yield from of_streams(view)
    yield from of_queues(view)
    yield from of_drift(view.drift)
    yield from _of_routes(view)
    yield from _of_backends(view)
    yield from of_rollouts(view.rollouts)
    yield from of_decisions(view)
    yield from of_feedback(view)
    yield from of_prediction_logs(view.prediction_logs)


def _of_process(view: MetricsView) -> Iterator[Metric]:
    config, workers = view.config, view.workers
    yield gauge("crossfade_build_info", "Always 1.", ["version"], [((view.version,), 1)])
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
        "crossfade_config_differs_from_file",
        "1 while a configuration is in force that was applied and differs from the file.",
        [],
        [((), config.differs)],
    )
    yield gauge(
        "crossfade_state_writable",
        "0 while decisions cannot be written; no exposure rises then.",
        [],
        [((), view.store_ok)],
    )
    yield gauge(
        "crossfade_worker_up",
        "1 if the worker lives.",
        ["worker"],
        [((str(w.worker),), w.up) for w in workers],
    )
    yield counter(
        "crossfade_worker_restarts_total",
        "Workers that died or hung and were replaced; counts they had not reported are lost.",
        ["worker"],
        [((str(w.worker),), w.restarts) for w in workers],
    )
    yield gauge(
        "crossfade_loop_lag_seconds",
        "Seconds by which the worker's event loop is late.",
        ["worker"],
        [((str(w.worker),), w.loop_lag) for w in workers],
    )


def _of_routes(view: MetricsView) -> Iterator[Metric]:
    yield gauge(
        "crossfade_split_weight",
        "A backend's share of a route, 0 to 1.",
        ["route", "backend"],
        [((s.route, backend), share) for s in view.splits for backend, share in s.split.items()],
    )
    yield gauge(
        "crossfade_ledger_version",
        "Increases with every change of a route's split.",
        ["route"],
        [((s.route,), s.ledger_version) for s in view.splits],
    )
    yield gauge(
        "crossfade_config_differs_from_state",
        "Keys of a route that say other than the state, such as the split after a promote.",
        ["route"],
        [((name,), n) for name, n in view.differing.items()],
    )
    yield gauge(
        "crossfade_latency_target_seconds",
        "What the p99 of the route should keep, by its `slo`.",
        ["route"],
        [((name,), target) for name, target in view.latency_targets.items()],
    )


def _of_backends(view: MetricsView) -> Iterator[Metric]:
    yield gauge(
        "crossfade_in_flight",
        "Requests in flight.",
        ["backend"],
        [((b.name,), b.in_flight) for b in view.backends],
    )
    yield gauge(
        "crossfade_max_in_flight",
        "How many requests may be in flight.",
        ["backend"],
        [((name,), n) for name, n in view.max_in_flight.items()],
    )
    yield gauge(
        "crossfade_endpoint_up",
        "1 if the endpoint passes its probes and no evidence of a rollout has ejected it.",
        ["backend", "endpoint"],
        [((b.name, e.url), e.up) for b in view.backends for e in b.endpoints],
    )
    yield gauge(
        "crossfade_endpoint_drained",
        "1 while the endpoint gets no new requests because an operator has drained it.",
        ["backend", "endpoint"],
        [((b.name, e.url), e.drained) for b in view.backends for e in b.endpoints],
    )
    yield gauge(
        "crossfade_backend_panic",
        "1 while no endpoint passes its probes; then all get the requests that no fallback can answer.",
        ["backend"],
        [((b.name,), b.panic) for b in view.backends],
    )
