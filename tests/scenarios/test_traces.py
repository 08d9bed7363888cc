"""A real collector gets the spans of a real proxy: between the client's and the model's, with route, backend and step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from loadtests.ports import free_port
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@asynccontextmanager
async def collector(port: int) -> AsyncIterator[list[Span]]:
    spans: list[Span] = []

    async def take(request: web.Request) -> web.Response:
        assert request.headers["x-key"] == "collector-key"
        for of_resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            for scope in of_resource.scope_spans:
                spans.extend(scope.spans)
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield spans
    finally:
        await runner.cleanup()


def values(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_a_request_is_followed_through_the_proxy(tmp_path: Path, models: dict[str, Model]) -> None:
    port = free_port()
    traces = (
        f"traces: {{endpoint: 'http://127.0.0.1:{port}', sample: 0%, headers: {{x-key: collector-key}}}}\n"
    )
    proxy = Proxy(tmp_path, traces + routing(models, canary("[{weight: 50%, hold: 1h}]")))
    async with running(proxy):

        async def second() -> bool:
            return (await proxy.split()).get("v3", 0.0) == 0.5

        await wait_until(second, "the first step")
        async with Load(proxy.url) as load:  # the collector is away, and nobody notices
            await load.wait_for_answers(50)
        assert load.failures == []
        async with collector(port) as spans, aiohttp.ClientSession() as session:
            asked = {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "followed"}
            body = {"customer_id": 1}
            async with session.post(f"{proxy.url}/predict", json=body, headers=asked) as response:
                backend = response.headers["x-crossfade-backend"]
            await wait_until(lambda: spans, "the span")
            (span,) = spans
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
            found = values(span)
            assert (found["crossfade.route"], found["crossfade.assigned"], found["crossfade.backend"]) == (
                "churn",
                backend,
                backend,
            )
            assert (found["crossfade.step"], found["crossfade.request_id"]) == (1, "followed")
            page = await metrics(proxy)
            named = f'# {{trace_id="{TRACE}"}}'
            assert any(
                named in line for line in page if line.startswith("crossfade_request_duration_seconds_bucket")
            )


async def metrics(proxy: Proxy) -> list[str]:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{proxy.admin_port}/metrics", headers=accept) as response,
    ):
        return (await response.text()).splitlines()
