"""The loop is closed: real labels → an order → a new model, trained on the log → a rollout of it → the champion, also in the registry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from crossfade_backends.data import Sample, as_request, draw_sample
from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.test_shadow_models import model_servers

ROWS = 3_000
PORTION = 100  # requests whose labels are told together
HORIZON = 20.0  # longer than a busy machine takes for a portion of requests and its labels
TRAIN = (sys.executable, "-m", "crossfade_backends.train", "--registry")


def routing(registry: Path, champion: str) -> str:
    command = json.dumps(
        [sys.executable, "-m", "crossfade_backends.retrain", "--registry", str(registry), "--start"]
    )
    return f"""
registry: {{kind: folder, uri: {registry}, interval: 500ms}}
backends:
  churn-v2: {{endpoints: [{champion}], registry: churn/v2}}
routes:
  - name: churn
    match: {{path: /predict, methods: [POST]}}
    sticky: {{json: customer_id}}
    split: {{churn-v2: 100%}}
    retry: {{pure: true}}
    prediction: {{score: churn_probability, decision: 0.5}}
    feedback: {{horizon: {HORIZON:g}s, inputs: true}}
    retrain: {{command: {command}, attempts: 100}}
    rollout:
      strategy: canary
      champion: churn-v2
      challenger: {{registry: churn@challenger}}
      steps: [{{weight: 50%, hold: 1s}}]
      min_requests: 50
      checks: [{{metric: error_rate, max: 50%}}]
"""


class Customers:
    """They ask, and what became of them is told by the ids of their requests."""

    def __init__(self, proxy: Proxy, sample: Sample) -> None:
        self.proxy, self.sample = proxy, sample
        self.asked = self.told = 0

    async def ask(self, session: aiohttp.ClientSession) -> None:
        n = self.asked = self.asked + 1
        body = as_request(self.sample, n % len(self.sample.churned))
        headers = {"X-Request-Id": f"customer-{n:08d}"}
        for attempts_left in (1, 0):
            try:
                async with session.post(f"{self.proxy.url}/predict", json=body, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    return
            except (
                aiohttp.ClientConnectionError
            ):  # on a busy machine a connection may wait too long for its request
                if not attempts_left:
                    raise

    async def ask_all(self, n: int) -> None:
        """Labels come a moment after the answers."""
        async with aiohttp.ClientSession() as session:
            for _ in range(n // 20):
                await asyncio.gather(*(self.ask(session) for _ in range(20)))
                if self.asked % PORTION == 0:
                    await self.tell()

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        done = asyncio.Event()

        async def go_on() -> None:
            while not done.is_set():
                await self.ask_all(20)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            done.set()
            await task

    async def tell(self) -> None:
        """Labels of all that were asked and not told yet."""
        rows = [
            {
                "request_id": f"customer-{n:08d}",
                "label": int(self.sample.churned[n % len(self.sample.churned)]),
            }
            for n in range(self.told + 1, self.asked + 1)
        ]
        self.told = self.asked
        status, answer = await self.proxy.call("POST", "/api/v1/feedback", rows)
        assert (status, answer["errors"]) == (202, []), answer


def metadata(registry: Path, version: str) -> Any:
    return json.loads((registry / "churn" / version / "metadata.json").read_text())


async def test_a_model_trained_on_the_log_becomes_the_champion(tmp_path: Path) -> None:
    registry = tmp_path / "models"
    child = await asyncio.create_subprocess_exec(*TRAIN, str(registry), stdout=asyncio.subprocess.DEVNULL)
    assert await child.wait() == 0
    started: list[int] = []
    try:
        async with model_servers(registry, "v2") as urls:
            proxy = Proxy(tmp_path, routing(registry, urls["v2"]), workers=1)
            async with running(proxy):
                await until_promoted(proxy, registry, started)
    finally:
        for pid in started:
            os.kill(pid, signal.SIGKILL)


async def until_promoted(proxy: Proxy, registry: Path, started: list[int]) -> None:
    customers = Customers(proxy, draw_sample(ROWS, 11))
    await customers.ask_all(ROWS)

    async def ripe() -> bool:
        path = f"/api/v1/predictions/churn?labelled=true&until={time.time() - HORIZON:.3f}"
        url = f"http://127.0.0.1:{proxy.admin_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return (await answer.read()).count(b"\n") >= ROWS * 0.95

    await wait_until(ripe, "the labels are ripe")
    status, given = await proxy.call("POST", "/api/v1/retrain/churn")
    assert status == 202, given
    version = f"r{given['order']['id']}"

    async def last() -> Any:
        return (await proxy.get("/api/v1/status"))["retrain"][0]["last"]

    ended = await wait_until(last, lambda: f"the order ends: {proxy.output[-3000:]}")
    assert ended["outcome"] == "succeeded", ended
    found = metadata(registry, version)
    started.append(int(found["tags"]["pid"]))
    assert ended["answer"]["version"] == version
    assert ended["answer"]["champion"]["version"] == "v2"
    assert found["metrics"]["log_loss"] < ended["answer"]["champion"]["metrics"]["log_loss"]
    async with customers.asking():

        async def phase() -> bool:
            rollouts = (await proxy.get("/api/v1/status"))["rollouts"]
            return [(r["challenger"], r["phase"]) for r in rollouts] == [(f"churn-{version}", "promoted")]

        await wait_until(phase, lambda: f"it is promoted: {proxy.output[-3000:]}")
        await wait_until(lambda: metadata(registry, version)["stage"] == "production", "it is in production")
    assert await proxy.split() == {"churn-v2": 0.0, f"churn-{version}": 1.0}
    decisions = (await proxy.get("/api/v1/decisions?limit=1000"))["decisions"]
    actions = [d["action"] for d in decisions]
    for first, second in (
        ("retrain", "retrained"),
        ("retrain", "start"),
        ("start", "begin"),
        ("begin", "promote"),
    ):
        assert actions.count(first) == actions.count(second) == 1
        assert actions.index(first) < actions.index(second)
    assert [d["to"]["version"] for d in decisions if d["action"] == "alias"] == [
        "churn/v2", f"churn/{version}",
    ]  # fmt: skip
