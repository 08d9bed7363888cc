"""A real Prometheus that scrapes a proxy, and a real Alertmanager, with the rules and most of the configuration of deploy/."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from loadtests.ports import free_port
from tests.deploy.promql import ALERTMANAGER, FOLDER, RULES
from tests.scenarios.harness import Process, wait_until

NEEDS_PROMETHEUS = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not on the PATH"
)
NEEDS_ALERTMANAGER = pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None, reason="prometheus-alertmanager is not on the PATH"
)
OFTEN = "500ms"  # instead of 5s


class WebServer(Process):
    """A program that says on `/-/ready` when it is."""

    command: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    async def start(self) -> None:
        self.child = await asyncio.create_subprocess_exec(*self.command, stdout=self.log, stderr=self.log)
        await wait_until(self.is_ready, lambda: f"it is ready: {self.output[-2000:]}")

    async def is_ready(self) -> bool:
        assert self.child.returncode is None, self.output
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url("/-/ready")) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class PrometheusServer(WebServer):
    """`alertmanager`: its port on loopback, if alerts are to be sent."""

    def __init__(self, folder: Path, admin_port: int, alertmanager: int | None = None) -> None:
        super().__init__()
        self.folder = folder / "prometheus"
        self.folder.mkdir()
        self.file = self.folder / "prometheus.yml"
        self.file.write_text(yaml.safe_dump(_configuration(admin_port, alertmanager)))
        for rules in (RULES.name, "alerts.yml"):
            shutil.copy(FOLDER / rules, self.folder)
        self.command = [
            "prometheus",
            f"--config.file={self.file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    async def start(self) -> None:
        self.since = time.time()
        await super().start()

    async def get(self, path: str, **parameters: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url(path), params=parameters) as response,
        ):
            answer = await response.json()
            assert answer["status"] == "success", answer
            return answer["data"]

    async def numbers(self, query: str) -> list[float]:
        """All values since the start that are numbers: what a panel would draw."""
        now = time.time()
        span = {"start": str(self.since), "end": str(now), "step": "1"}
        found = (await self.get("/api/v1/query_range", query=query, **span))["result"]
        values = [float(value) for series in found for _, value in series["values"]]
        return [value for value in values if value == value]


class Alertmanager(WebServer):
    """It tells `hook`, the URL of a webhook, for all receivers, and soon."""

    def __init__(self, folder: Path, hook: str) -> None:
        super().__init__()
        self.folder = folder / "alertmanager"
        self.folder.mkdir()
        self.file = self.folder / "alertmanager.yml"
        written: dict[str, Any] = yaml.safe_load((ALERTMANAGER / "alertmanager.yml").read_text())
        for route in (written["route"], *written["route"]["routes"]):
            route |= {"group_wait": "100ms", "group_interval": "1s"}
        hooks = [{"url": hook, "send_resolved": True}]
        written["receivers"] = [
            {"name": each["name"], "webhook_configs": hooks} for each in written["receivers"]
        ]
        self.file.write_text(yaml.safe_dump(written))
        shutil.copy(ALERTMANAGER / "crossfade.tmpl", self.folder)
        self.command = [
            "prometheus-alertmanager",
            f"--config.file={self.file}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


def _configuration(admin_port: int, alertmanager: int | None) -> dict[str, Any]:
    """That of the compose project, for this proxy alone, which asks for no token."""
    written: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    written["global"] |= {"scrape_interval": OFTEN, "evaluation_interval": OFTEN}
    (job,) = (each for each in written["scrape_configs"] if each["job_name"] == "crossfade")
    del job["authorization"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{admin_port}"]}]
    written["scrape_configs"] = [job]
    if alertmanager is not None:
        targets = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
        written["alerting"] = {"alertmanagers": [{"static_configs": targets}]}
    return written
