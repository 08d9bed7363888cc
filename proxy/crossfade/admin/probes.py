"""What needs no knowledge of the API: the probes, the metrics and the API's own description."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from prometheus_client.core import Metric

from crossfade.admin.access import Access
from crossfade.admin.access_metrics import of_failures
from crossfade.admin.asked import json_response
from crossfade.admin.certificate_metrics import of_certificates
from crossfade.admin.metrics import render
from crossfade.admin.operation import TEXT, Operation
from crossfade.admin.problems import problem
from crossfade.admin.process_metrics import read_processes
from crossfade.admin.proxy_port import ProxyPort
from crossfade.admin.roles import Role
from crossfade.control.viewing import Views
from crossfade.workers.certificate_ends import certificate_ends


class Probes:
    """`document`: of the API, as OpenAPI."""

    def __init__(self, views: Views, proxy: ProxyPort, document: Mapping[str, Any], access: Access) -> None:
        self.views = views
        self.proxy = proxy
        self.document = document
        self.access = access

    async def healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Ready also while the state cannot be written: serving does not need the disk. The text says so."""
        ready, reason = self.proxy.ready()
        if not ready:
            return problem(503, reason, "not-ready", "Not ready")
        store_ok = self.views.store_ok
        return web.Response(
            text="ready\n" if store_ok else "ready; no exposure rises: the state cannot be written\n"
        )

    async def metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        page, media = render(self.views.metrics(time.time()), accept, await self.other_families())
        return web.Response(body=page, headers={"Content-Type": media})

    async def other_families(self) -> list[Metric]:
        """Metrics that are not of the controller's view."""
        pids = {str(w.worker): w.pid for w in self.views.seam.workers() if w.up}
        processes = await asyncio.to_thread(read_processes, pids)
        config, shown = self.views.state.config.config, self.views.state.certificate_ends
        files = await asyncio.to_thread(certificate_ends, config)
        return [*processes, *of_certificates(files, config, shown), of_failures(self.access.failures.counts)]

    async def openapi(self, request: web.Request) -> web.Response:
        """Where no token is needed, the document says so."""
        open_to_all: list[dict[str, Any]] = [] if self.access.needs_token else [{}]
        return json_response({**self.document, "security": [*self.document["security"], *open_to_all]})


OPERATIONS = (
    Operation(
        method="GET",
        path="/healthz",
        handler=Probes.healthz,
        role=Role.OPEN,
        summary="200 while the process lives",
        answer=str,
        media=TEXT,
        query=None,
    ),
    Operation(
        method="GET",
        path="/readyz",
        handler=Probes.readyz,
        role=Role.OPEN,
        summary="200 when ready, 503 while not, or draining",
        answer=str,
        media=TEXT,
        query=None,
        errors={503: "Not ready, or draining"},
    ),
    Operation(
        method="GET",
        path="/metrics",
        handler=Probes.metrics,
        role=Role.VIEWER,
        summary="Metrics for Prometheus",
        answer=str,
        media=TEXT,
        query=None,
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        handler=Probes.openapi,
        role=Role.VIEWER,
        summary="This document",
        answer=dict[str, Any],
        query=None,
    ),
)
