"""Spans of sampled exchanges, sent to a collector by OTLP over HTTP (OpenTelemetry's semantic conventions for HTTP servers).

Rule: sending never delays the reading of answers: a thread of OpenTelemetry's own has a queue of QUEUE spans, and drops those above it.
"""

from __future__ import annotations

import logging
from typing import Any

from crossfade.quality.samples import SpanSample
from crossfade.routing.snapshot import Tracing

log = logging.getLogger("crossfade.observer")

QUEUE = 4096  # spans
EVERY = 1000.0  # milliseconds between two calls, where there are few
TIMEOUT = 5.0  # seconds of a call, its repetitions included
NANOSECONDS = 1_000_000_000


class Spans:
    """`use` begins; without a Tracing nothing of OpenTelemetry is imported."""

    def __init__(self) -> None:
        self.tracing: Tracing | None = None
        self.sender: Any = None
        self.resource: Any = None

    def use(self, tracing: Tracing | None) -> None:
        if tracing == self.tracing:
            return
        self.close()
        self.tracing = tracing
        if tracing is not None:
            self._begin(tracing)

    def _begin(self, tracing: Tracing) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        headers = dict(tracing.headers)
        exporter = OTLPSpanExporter(endpoint=tracing.endpoint, headers=headers, timeout=TIMEOUT)
        self.sender = BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=EVERY)
        self.resource = Resource.create({"service.name": tracing.service})

    def add(self, sample: SpanSample) -> None:
        if self.sender is not None:
            self.sender.on_end(span_of(sample, self.resource))

    def close(self) -> None:
        """Send what waits, within the timeout of a call."""
        if self.sender is not None:
            self.sender.shutdown()
            self.sender = None


def span_of(sample: SpanSample, resource: Any) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    trace, own, parent = sample.ids
    sampled = TraceFlags(TraceFlags.SAMPLED)
    end = int(sample.at * NANOSECONDS)
    failed = sample.status >= 500 or (sample.status == 0 and not sample.abandoned)
    method = sample.request[0].decode("latin-1")
    return ReadableSpan(
        name=f"{method} {sample.place[0]}".strip(),
        context=SpanContext(int(trace, 16), int(own, 16), False, sampled),
        parent=SpanContext(int(trace, 16), int(parent, 16), True, sampled) if parent else None,
        resource=resource,
        attributes=attributes_of(sample),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=end - int(sample.seconds * NANOSECONDS),
        end_time=end,
    )


def attributes_of(sample: SpanSample) -> dict[str, Any]:
    """Those that have a value. The query is left out, as it may hold secrets."""
    method, path, version, host = (part.decode("latin-1") for part in sample.request)
    route, assigned, role = sample.place
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
    error = sample.stages[-1] if sample.stages else str(sample.status)
    found = {
        "http.request.method": method,
        "url.path": path,
        "url.scheme": "https" if sample.secure else "http",
        "network.protocol.version": version,
        "server.address": name,
        "server.port": int(port) if port else None,
        "client.address": sample.client.decode("latin-1"),
        "http.response.status_code": sample.status or None,
        "http.request.resend_count": sample.resent or None,
        "error.type": error if sample.status >= 500 or sample.status == 0 else None,
        "crossfade.request_id": sample.request_id.decode("latin-1"),
        "crossfade.route": route,
        "crossfade.backend": sample.answered_by,
        "crossfade.endpoint": sample.endpoint,
        "crossfade.assigned": assigned,
        "crossfade.assigned.status_code": sample.code or None,
        "crossfade.role": role,
        "crossfade.step": None if sample.step is None else sample.step + 1,
        "crossfade.failures": sample.stages or None,
        "crossfade.fell_back": sample.fell_back or None,
        "crossfade.abandoned": sample.abandoned or None,
    }
    return {key: value for key, value in found.items() if value not in (None, "")}
