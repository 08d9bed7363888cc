"""Real models behind the proxy: no alarm while customers are those of the training, one for each input that drifts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crossfade_backends.data import AMOUNT, FEATURES, Sample, as_request, draw_sample
from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.test_shadow_models import model_servers, registry

__all__ = ["registry"]

NAME = FEATURES[AMOUNT]
WINDOWS = 4  # without an alarm, before something drifts


def config(urls: dict[str, str], drift: str, split: str = "v2: 100%", more: str = "") -> str:
    backends = "".join(f"  {name}: {{endpoints: {url}}}\n" for name, url in urls.items())
    return f"""
backends:
{backends}
routes:
  - name: churn
    match: {{path: /predict}}
    sticky: {{json: customer_id}}
    split: {{{split}}}
    prediction: {{score: churn_probability}}
    drift: {drift}
{more}"""


class Customers:
    """Each asks once. `factor`: of their amounts."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.sample: Sample = draw_sample(40_000, seed)
        self.factor = 1.0
        self.sent = 0
        self.failures: list[str] = []

    def next(self) -> dict[str, Any]:
        row = as_request(self.sample, self.sent % 40_000)
        row["customer_id"] = f"K{self.sent}"
        row[NAME] = round(float(row[NAME]) * self.factor, 2)
        self.sent += 1
        return row

    async def ask(self, session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with session.post(f"{self.url}/predict", json=self.next()) as response:
                    if response.status != 200:
                        self.failures.append(await response.text())
            except aiohttp.ClientError as error:
                self.failures.append(repr(error))

    @contextlib.asynccontextmanager
    async def asking(self, clients: int = 8) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(self.ask(session)) for _ in range(clients)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def drift(proxy: Proxy) -> Any:
    return await proxy.get("/api/v1/drift/churn")


async def windows(proxy: Proxy, more: int) -> Any:
    """The view when so many windows more are full."""
    goal = (await drift(proxy))["windows"] + more

    async def full() -> Any:
        view = await drift(proxy)
        return view if view["windows"] >= goal else None

    return await wait_until(full, f"{more} windows")


async def alarmed(proxy: Proxy) -> Any:
    async def found() -> Any:
        view = await drift(proxy)
        return view if view["alarms"] else None

    return await wait_until(found, "an alarm")


@pytest.mark.parametrize("workers", [0, 2])
async def test_an_input_that_drifts_is_one_alarm(tmp_path: Path, registry: Path, workers: int) -> None:
    profile = registry / "churn" / "v2" / "profile.json"
    async with model_servers(registry, "v2") as urls:
        proxy = Proxy(tmp_path, config(urls, f"{{baseline: {profile}, window: 1s}}"), workers)
        customers = Customers(proxy.url, seed=3)
        async with running(proxy), customers.asking():
            view = await windows(proxy, WINDOWS)
            assert (view["state"], view["alarms"]) == ("watching", [])
            assert view["profile"]["name"] == "churn v2"
            assert {field["name"] for field in view["fields"]} == set(FEATURES)
            customers.factor = 100.0
            view = await alarmed(proxy)
            view = await windows(proxy, 2)
            assert {(alarm["kind"], alarm["subject"]) for alarm in view["alarms"]} >= {("data_drift", NAME)}
            fields = {field["name"]: field for field in view["fields"]}
            assert fields[NAME]["alarm_at"] and fields[NAME]["listed"]
            assert fields[NAME]["drift"]["distance"] > 0.3
            assert not any(fields[name]["listed"] for name in FEATURES if name != NAME)
            route = await proxy.get("/api/v1/routes/churn")
            assert f"field {NAME}" in route["drift"]
            metrics = await proxy.get("/metrics")
            assert f'crossfade_drift_alarm{{route="churn",subject="field {NAME}"}} 1.0' in metrics
            assert re.search(
                r'crossfade_drift_alarms_total\{kind="data_drift",route="churn"\} [1-9]', metrics
            )
            assert f"data_drift on route churn: {NAME}: " in proxy.output
            assert customers.failures == []


async def test_the_first_customers_become_the_profile_that_survives_a_kill(
    tmp_path: Path, registry: Path
) -> None:
    async with model_servers(registry, "v2") as urls:
        proxy = Proxy(tmp_path, config(urls, "{rows: 600, window: 1s, tolerance: 10%}"))
        customers = Customers(proxy.url, seed=4)
        async with running(proxy), customers.asking():
            assert (await drift(proxy))["state"] in ("learning", "reading")
            view = await windows(proxy, 2)
            assert view["profile"]["rows"] == 600
            assert "customer_id" not in {field["name"] for field in view["fields"]}
            before = await proxy.get("/api/v1/baseline/churn")
            await proxy.stop(signal.SIGKILL)
            await proxy.start()
            await wait_until(lambda: is_watching(proxy), "the profile is read")
            assert await proxy.get("/api/v1/baseline/churn") == before
            customers.factor = 0.05
            view = await alarmed(proxy)
            assert NAME in {alarm["subject"] for alarm in view["alarms"]}


async def is_watching(proxy: Proxy) -> bool:
    return bool((await drift(proxy))["state"] == "watching")


async def test_a_rollout_waits_while_inputs_drift(tmp_path: Path, registry: Path) -> None:
    profile = registry / "churn" / "v3" / "profile.json"
    rollout = """
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{weight: 50%, hold: 1s}, {weight: 60%, hold: 1h}]
      min_requests: 100
      fuse: false
      checks: [{metric: data_drift, max: 10%}]
"""
    async with model_servers(registry, "v2", "v3") as urls:
        proxy = Proxy(tmp_path, config(urls, f"{{baseline: {profile}, window: 1m}}", more=rollout))
        customers = Customers(proxy.url, seed=5)
        customers.factor = 100.0
        async with running(proxy), customers.asking():

            async def held() -> bool:
                verdicts = (await proxy.rollout())["verdicts"]
                return any(each["verdict"] == "VOID" and NAME in each["reason"] for each in verdicts)

            await wait_until(held, "the rollout waits")
            assert (await proxy.split())["v3"] == 0.5
            assert (await proxy.rollout())["phase"] == "progressing"


async def send_labels(proxy: Proxy, customers: Customers, flipped: asyncio.Event) -> None:
    """The true label of each request, a moment after it was answered; the other one once `flipped`."""
    async with aiohttp.ClientSession() as session:
        while True:
            row = customers.next()
            churned = bool(customers.sample.churned[(customers.sent - 1) % 40_000]) != flipped.is_set()
            try:
                async with session.post(f"{customers.url}/predict", json=row) as response:
                    request_id = response.headers["x-request-id"]
                label = {"request_id": request_id, "label": churned}
                status, answer = await proxy.call("POST", "/api/v1/feedback", label)
                if status != 202:
                    customers.failures.append(str(answer))
            except aiohttp.ClientError as error:
                customers.failures.append(repr(error))


async def test_a_model_that_is_no_longer_right_is_an_alarm_by_its_labels(
    tmp_path: Path, registry: Path
) -> None:
    profile = registry / "churn" / "v3" / "profile.json"
    async with model_servers(registry, "v3") as urls:
        drifts = f"{{baseline: {profile}, window: 2s, loss_tolerance: 5%}}"
        proxy = Proxy(
            tmp_path, config(urls, drifts, "v3: 100%", "    feedback: {horizon: 3s, correct_within: 1s}\n")
        )
        customers, flipped = Customers(proxy.url, seed=6), asyncio.Event()
        async with running(proxy):
            tasks = [asyncio.create_task(send_labels(proxy, customers, flipped)) for _ in range(6)]
            try:

                async def looked() -> Any:
                    loss = (await drift(proxy))["loss"]
                    return loss if loss and loss["windows"] >= 3 else None

                loss = await wait_until(looked, "labels are ripe")
                assert (loss["backend"], loss["is_given"], loss["alarm_at"]) == ("v3", True, None)
                assert loss["loss"] < loss["limit"]
                flipped.set()
                view = await alarmed(proxy)
                assert {(alarm["kind"], alarm["subject"]) for alarm in view["alarms"]} == {
                    ("concept_drift", "v3")
                }
                assert view["loss"]["loss"] > view["loss"]["limit"]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        assert customers.failures == []
