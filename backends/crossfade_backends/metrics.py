"""Prometheus metrics of the server. Each app has its own registry, so that two apps can share a process.

Rule: labels are bounded. The label `path` is the pattern of the route, never the path of a request.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from crossfade_backends.data import FloatArray
from crossfade_backends.lines import NDJSON
from crossfade_backends.registry import Metadata
from crossfade_backends.scoring import RISK_LEVELS, risk_level

_SCORES = tuple(step / 20 for step in range(1, 21))
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class ServerMetrics:
    """`predictions`: durations of requests. `scores`, `levels`: of rows, as they were answered."""

    def __init__(self, model: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "model_server_requests",
            "Requests by route and status; 499 if the client disconnected.",
            ["path", "code"],
            registry=self.registry,
        )
        durations = Histogram(
            "model_server_prediction_duration_seconds",
            "Time from the request head to the answer, including injected latency.",
            ["model", "version"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.predictions = durations.labels(model, version)
        self._add_scores(model, version)
        self._add_batches()
        self.log_dropped = Counter(
            "model_server_request_log_dropped",
            "Lines of the request log that could not be written.",
            registry=self.registry,
        )

    def _add_batches(self) -> None:
        self.batch_rows = Histogram(
            "model_server_batch_rows",
            "Rows that were scored together, of one request or several.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.batch_wait = Histogram(
            "model_server_batch_wait_seconds",
            "How long the first row of a batch has waited until it was scored.",
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def _add_scores(self, model: str, version: str) -> None:
        levels = Counter(
            "model_server_predictions",
            "Rows that were predicted, by level of risk.",
            ["model", "version", "risk_level"],
            registry=self.registry,
        )
        self.levels = {level: levels.labels(model, version, level) for level in RISK_LEVELS}
        scores = Histogram(
            "model_server_score",
            "Scores of the rows that were predicted.",
            ["model", "version"],
            buckets=_SCORES,
            registry=self.registry,
        )
        self.scores = scores.labels(model, version)

    def observe_scores(self, scores: FloatArray) -> FloatArray:
        """The same scores."""
        for score in scores.tolist():
            self.scores.observe(score)
            self.levels[risk_level(score)].inc()
        return scores

    def describe_model(self, metadata: Metadata) -> None:
        info = Gauge(
            "model_server_model_info",
            "1; the labels say what is loaded.",
            ["model", "version", "framework", "model_sha256", "training_data_sha256"],
            registry=self.registry,
        )
        hashes = metadata.model_sha256, metadata.training_data_sha256
        info.labels(metadata.name, metadata.version, metadata.framework, *hashes).set(1)

    def observe_batch(self, rows: int, waited: float) -> None:
        self.batch_rows.observe(rows)
        self.batch_wait.observe(waited)

    def render(self) -> bytes:
        return generate_latest(self.registry)

    @web.middleware
    async def measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        code = 500
        try:
            response = await handler(request)
            code = response.status
            return response
        except asyncio.CancelledError:
            code = 499
            raise
        finally:
            resource = request.match_info.route.resource
            path = resource.canonical if resource else "unmatched"
            self.requests.labels(path, str(code)).inc()
            # A stream of lines lasts as long as its client likes.
            if path.endswith(("/predict", "/batch", "/infer")) and request.content_type != NDJSON:
                self.predictions.observe(perf_counter() - started)
