"""A backend breaks: a real Prometheus sees it, a real Alertmanager tells of it, and tells again when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until
from tests.scenarios.prometheus_server import (
    NEEDS_ALERTMANAGER,
    NEEDS_PROMETHEUS,
    Alertmanager,
    PrometheusServer,
)

Messages = list[dict[str, Any]]


@asynccontextmanager
async def receiving(messages: Messages) -> AsyncIterator[str]:
    """The URL of a webhook that keeps what it gets."""

    async def keep(request: web.Request) -> web.Response:
        messages.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", keep)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def told(messages: Messages, alert: str, status: str) -> list[dict[str, Any]]:
    """The alerts of this name and status, each with the receiver of its message."""
    return [
        {**each, "receiver": message["receiver"]}
        for message in messages
        for each in message["alerts"]
        if (each["labels"]["alertname"], each["status"]) == (alert, status)
    ]


@NEEDS_PROMETHEUS
@NEEDS_ALERTMANAGER
async def test_the_alert_of_a_broken_backend_comes_and_goes(tmp_path: Path) -> None:
    models, messages = {"v2": Model("v2")}, Messages()
    proxy = Proxy(tmp_path, routing(models, "    split: {v2: 100%}\n"))
    async with running(*models.values()), receiving(messages) as hook:
        alertmanager = Alertmanager(tmp_path, hook)
        prometheus = PrometheusServer(tmp_path, proxy.admin_port, alertmanager.port)
        async with running(proxy, alertmanager, prometheus), Load(proxy.url, clients=2) as load:
            await load.wait_for_answers(50)
            await wait_until(lambda: prometheus.numbers("crossfade_backend_panic"), "a scrape")
            assert messages == []
            port = models["v2"].port
            await models["v2"].stop()
            await wait_until(lambda: told(messages, "CrossfadeBackendDown", "firing"), "the alert")
            (alert, *_) = told(messages, "CrossfadeBackendDown", "firing")
            assert alert["receiver"] == "pages"
            assert (alert["labels"]["backend"], alert["labels"]["severity"]) == ("v2", "page")
            assert alert["annotations"]["summary"] == "no endpoint of v2 passes its probes"
            assert alert["annotations"]["runbook_url"].endswith("docs/runbooks/backend-down.md")
            models["again"] = Model("v2", port)
            async with running(models["again"]):
                await wait_until(lambda: told(messages, "CrossfadeBackendDown", "resolved"), "its end")
