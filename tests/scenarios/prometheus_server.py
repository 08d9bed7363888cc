"""A real Prometheus that scrapes a proxy, with the rules and most of the configuration of deploy/prometheus."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.deploy.promql import FOLDER, RULES
from tests.ports import free_port
from tests.scenarios.harness import Process, wait_until

NEEDS_PROMETHEUS = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not on the PATH"
)
OFTEN = "500ms"  # instead of 5s


class PrometheusServer(Process):
    """`receiver`: the port of an Alertmanager on loopback, if alerts are to be sent."""

    def __init__(self, folder: Path, admin_port: int, receiver: int | None = None) -> None:
        super().__init__()
        self.folder = folder / "prometheus"
        self.port = free_port()
        self.folder.mkdir()
        self.file = self.folder / "prometheus.yml"
        self.file.write_text(yaml.safe_dump(_configuration(admin_port, receiver)))
        for rules in (RULES.name, "alerts.yml"):
            shutil.copy(FOLDER / rules, self.folder)

    async def start(self) -> None:
        self.since = time.time()
        self.child = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={self.file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            stdout=self.log,
            stderr=self.log,
        )
        await wait_until(self.is_ready, lambda: f"Prometheus is ready: {self.output[-2000:]}")

    async def is_ready(self) -> bool:
        assert self.child.returncode is None, self.output
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url("/-/ready")) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

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

    async def firing(self) -> set[str]:
        """The names of alerts that fire."""
        alerts = (await self.get("/api/v1/alerts"))["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def _configuration(admin_port: int, receiver: int | None) -> dict[str, Any]:
    """That of the compose project, for this proxy alone, which asks for no token."""
    written: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    written["global"] |= {"scrape_interval": OFTEN, "evaluation_interval": OFTEN}
    (job,) = (each for each in written["scrape_configs"] if each["job_name"] == "crossfade")
    del job["authorization"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{admin_port}"]}]
    written["scrape_configs"] = [job]
    if receiver is not None:
        targets = [{"targets": [f"127.0.0.1:{receiver}"]}]
        written["alerting"] = {"alertmanagers": [{"static_configs": targets}]}
    return written
