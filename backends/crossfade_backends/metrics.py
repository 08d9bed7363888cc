"""Prometheus metrics of the server. Each app has its own registry, so that two apps can share a process.

Rule: labels are bounded. The label `path` is the pattern of the route, never the path of a request.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServerMetrics:
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
            if path.endswith(("/predict", "/batch", "/infer")):
                self.predictions.observe(perf_counter() - started)
