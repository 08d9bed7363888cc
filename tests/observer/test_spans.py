"""Spans as a collector gets them: over HTTP, in OTLP, and within a limit."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from crossfade.observer.observing import Observer
from crossfade.observer.spans import attributes_of
from crossfade.quality.samples import SpanSample, encode
from crossfade.routing.snapshot import Tracing

TRACE, OWN, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"00f067aa0ba902b7", b"b7ad6b7169203331"


def sample(**changes: Any) -> SpanSample:
    fields: dict[str, Any] = {
        "ids": (TRACE, OWN, PARENT),
        "at": 1_700_000_000.5,
        "seconds": 0.25,
        "request_id": b"one",
        "request": (b"POST", b"/predict", b"1.1", b"models.example.com:8080"),
        "client": b"10.0.0.1",
        "secure": True,
        "status": 200,
        "place": ("churn", "v3", "challenger"),
        "answered_by": "v2",
        "endpoint": "10.0.0.2:8000",
        "step": 1,
        "stages": ["connect"],
        "fell_back": True,
        "abandoned": False,
        "resent": 1,
        "code": 502,
    }
    return SpanSample(**(fields | changes))


class Collector:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.headers: list[Any] = []
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing is logged."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, headers: Any, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.paths.add(path)
        self.headers.append(headers)
        for of_resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in of_resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in of_resource.scope_spans:
                self.spans += scope.spans

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def sent(collector: Collector, *samples: SpanSample, **changes: Any) -> list[Span]:
    observer = Observer()
    observer.spans.use(Tracing(f"{collector.url}/v1/traces", 1.0, "edge", **changes))
    observed = observer.observe(encode(list(samples)), len(samples))
    assert observed.n == len(samples)
    observer.close()
    return collector.spans


def values(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_collector_gets_each_span_once_when_the_observer_ends(collector: Collector) -> None:
    span, first = sent(collector, sample(), sample(ids=(TRACE, PARENT, b"")), headers=(("x-key", "secret"),))
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
        TRACE.decode(),
        OWN.decode(),
        PARENT.decode(),
    )
    assert first.parent_span_id == b""
    assert (span.name, span.kind) == ("POST churn", Span.SPAN_KIND_SERVER)
    assert span.end_time_unix_nano == 1_700_000_000_500_000_000
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert (collector.services, collector.paths) == ({"edge"}, {"/v1/traces"})
    assert {headers["x-key"] for headers in collector.headers} == {"secret"}


def test_attributes_are_those_of_the_conventions_and_our_own(collector: Collector) -> None:
    (span,) = sent(collector, sample())
    found = values(span)
    assert found.pop("crossfade.failures").values[0].string_value == "connect"
    assert found == {
        "http.request.method": "POST",
        "url.path": "/predict",
        "url.scheme": "https",
        "network.protocol.version": "1.1",
        "server.address": "models.example.com",
        "server.port": 8080,
        "client.address": "10.0.0.1",
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
        "crossfade.request_id": "one",
        "crossfade.route": "churn",
        "crossfade.backend": "v2",
        "crossfade.endpoint": "10.0.0.2:8000",
        "crossfade.assigned": "v3",
        "crossfade.assigned.status_code": 502,
        "crossfade.role": "challenger",
        "crossfade.step": 2,
        "crossfade.fell_back": True,
    }


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"status": 503, "stages": []}, 2, "503"),
        ({"status": 504, "stages": ["first_byte"]}, 2, "first_byte"),
        ({"status": 0, "stages": ["body"]}, 2, "body"),
        ({"status": 0, "stages": ["client_left"], "abandoned": True}, 0, "client_left"),
        ({"status": 404}, 0, None),
        ({}, 0, None),
    ],
)
def test_errors(collector: Collector, changes: dict[str, Any], status: int, error: str | None) -> None:
    (span,) = sent(collector, sample(**changes))
    assert (span.status.code, values(span).get("error.type")) == (status, error)


def test_a_host_may_be_an_address_or_nothing() -> None:
    for host, name, port in (
        (b"[::1]:80", "[::1]", 80),
        (b"a.b", "a.b", None),
        (b"", None, None),
        (b"[::1]", "[::1]", None),
    ):
        found = attributes_of(sample(request=(b"GET", b"/", b"1.1", host)))
        assert (found.get("server.address"), found.get("server.port")) == (name, port), host


def test_a_collector_that_is_away_costs_nothing_else() -> None:
    observer = Observer()
    observer.spans.use(Tracing("http://127.0.0.1:9/v1/traces", 1.0, "edge"))
    assert observer.observe(encode([sample()] * 3), 3).n == 3
    observer.spans.use(None)
    assert observer.observe(encode([sample()]), 1).n == 1
    observer.close()


def test_another_collector_after_a_reload(collector: Collector) -> None:
    observer = Observer()
    other = Collector()
    try:
        observer.spans.use(Tracing(f"{collector.url}/v1/traces", 1.0, "edge"))
        observer.observe(encode([sample()]), 1)
        observer.spans.use(Tracing(f"{other.url}/v1/traces", 1.0, "edge"))
        observer.observe(encode([sample(), sample()]), 2)
        observer.close()
        assert (len(collector.spans), len(other.spans)) == (1, 2)
    finally:
        other.close()
