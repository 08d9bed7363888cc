"""Real models in shadow: a subtly wrong one is caught before a customer sees it, a good one goes on to canary by itself."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crossfade_backends.data import FEATURES, draw_sample
from loadtests.ports import free_port
from tests.scenarios.harness import Process, Proxy, running, wait_until

ROWS = 4000
UNASKED = 20  # requests of each route behind which the challenger's server has no more copies
PREDICTIONS = """{metric: disagreement, max: 20%}, {metric: segment_divergence, max: 25%}, {metric: distance, max: 0.15},
        {metric: shadow_errors, max: 1%}"""
SEGMENTS = "{metric: segment_divergence, max: 15%}"
ALL = f"{PREDICTIONS}, {{metric: shadow_latency, quantile: p90, max_ratio: 20}}"  # a busy machine is slow now and then


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained once."""
    folder = tmp_path_factory.mktemp("models")

    async def train() -> None:
        command = (sys.executable, "-m", "crossfade_backends.train", "--registry", str(folder))
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        assert await child.wait() == 0

    asyncio.run(train())
    return folder


@contextlib.asynccontextmanager
async def model_servers(registry: Path, *versions: str) -> AsyncIterator[dict[str, str]]:
    """Their URLs, by version."""
    urls, servers = {}, []
    for version in versions:
        port = free_port()
        urls[version] = f"http://127.0.0.1:{port}"
        servers.append(
            Process(
                "crossfade_backends.server", "--registry", str(registry), "--model", "churn",
                "--version", version, "--host", "127.0.0.1", "--port", str(port),
            )
        )  # fmt: skip
    async with running(*servers), aiohttp.ClientSession() as session:

        async def is_up(url: str) -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health") as response:
                    return response.status == 200
            return False

        for url in urls.values():
            await wait_until(lambda url=url: is_up(url), f"{url} answers")  # type: ignore[misc]
        yield urls


def route(name: str, champion: str, challenger: str, checks: str = ALL) -> str:
    return f"""
  - name: {name}
    match: {{path: /{name}/predict}}
    split: {{{champion}: 100%}}
    prediction: {{score: churn_probability, decision: 0.3, segment: [{{header: X-Spend}}]}}
    mirror: {{to: {challenger}, sample: 0%, noise: 30%, safe: true}}
    rollout:
      strategy: shadow
      champion: {champion}
      challenger: {challenger}
      steps: [{{mirror: 100%, hold: 2s}}, {{weight: 50%, hold: 1h}}]
      min_requests: 100
      checks: [{checks}]
"""


def backend(name: str, url: str) -> str:
    return f"  {name}:\n    endpoints: [{url}]\n    health: false\n    request: {{path: {{replace: /predict}}}}\n"


def customers() -> Iterator[tuple[dict[str, Any], str]]:
    """The requests of customers, and how much each spends."""
    for n, row in enumerate(draw_sample(ROWS, 5).features.tolist()):
        features: dict[str, Any] = {"customer_id": f"c{n}", **dict(zip(FEATURES, row, strict=True))}
        for name in FEATURES:
            if name != "total_amount_30d":
                features[name] = int(features[name])
        amount = features["total_amount_30d"]
        yield features, "low" if amount < 50 else "middle" if amount < 500 else "high"


async def ask(proxy: Proxy, routes: list[str], challenger: str, done: asyncio.Event) -> set[str]:
    """Ask all routes in turn until `done`. Returns who answered clients.

    Only the champion holds the client back. So it asks the challenger too: a slow one would have more and more copies
    in flight, and a comparison without those that find no room says nothing.
    """
    answered = set()
    async with aiohttp.ClientSession() as session:

        async def send(name: str, features: dict[str, Any], spend: str) -> None:
            url = f"{proxy.url}/{name}/predict"
            async with session.post(url, json=features, headers={"X-Spend": spend}) as response:
                assert response.status == 200, await response.text()
                answered.add(response.headers["x-crossfade-backend"])

        while not done.is_set():
            for n, (features, spend) in enumerate(customers()):
                await asyncio.gather(*(send(name, features, spend) for name in routes))
                if n % UNASKED == 0:
                    async with session.post(f"{challenger}/predict", json=features) as response:
                        assert response.status == 200, await response.text()
                if done.is_set():
                    break
    return answered


async def outcome(
    folder: Path, config: str, routes: list[str], challenger: str
) -> tuple[dict[str, dict[str, Any]], set[str], dict[str, Any]]:
    """The rollouts when each has left its first step or was aborted, who answered clients, and the first comparison."""
    proxy, done = Proxy(folder, config), asyncio.Event()
    async with running(proxy):
        asking = asyncio.ensure_future(ask(proxy, routes, challenger, done))
        left: dict[str, dict[str, Any]] = {}
        seen: dict[str, dict[str, Any]] = {}

        async def has_left() -> bool:
            if asking.done():
                asking.result()
            for name in routes:
                seen[name] = found = await proxy.rollout(name)
                if name not in left and (found["phase"] != "progressing" or found["step"] > 0):
                    left[name] = found
            return len(left) == len(routes)

        def why() -> str:
            waiting = {name: [(v["check"], v["reason"]) for v in seen[name]["verdicts"]] for name in routes}
            return f"all leave shadow: {waiting}"

        try:
            await wait_until(has_left, why)
        finally:
            done.set()
        answered = await asking
        return left, answered, await proxy.get(f"/api/v1/comparisons/{routes[0]}")


async def test_a_subtly_wrong_model_is_caught_in_shadow_and_the_report_says_in_which_segment(
    tmp_path: Path, registry: Path
) -> None:
    """v4 is as fast as v3 and never fails; its training data had cents for euros."""
    async with model_servers(registry, "v2", "v4") as urls:
        config = "backends:\n" + backend("v2", urls["v2"]) + backend("v4", urls["v4"])
        left, answered, compared = await outcome(
            tmp_path, f"{config}routes:{route('churn', 'v2', 'v4', SEGMENTS)}", ["churn"], urls["v4"]
        )
    assert left["churn"]["phase"] == "aborted", left
    assert answered == {"v2"}, "no customer has seen an answer of v4"
    (verdict,) = left["churn"]["verdicts"]
    assert "high" in verdict["reason"] or "middle" in verdict["reason"], verdict["reason"]
    changed = {segment["value"]: segment["changed"] for segment in compared["segments"]}
    assert changed["high"] > 0.2
    assert compared["worst"]


async def test_a_good_model_goes_on_to_canary_by_itself(tmp_path: Path, registry: Path) -> None:
    async with model_servers(registry, "v2", "v3") as urls:
        config = "backends:\n" + backend("v2", urls["v2"]) + backend("v3", urls["v3"])
        left, _, compared = await outcome(
            tmp_path, f"{config}routes:{route('churn', 'v2', 'v3')}", ["churn"], urls["v3"]
        )
    found = left["churn"]
    assert (found["phase"], found["step"]) == ("progressing", 1), [v["reason"] for v in found["verdicts"]]
    assert compared["pairs"] >= 150


async def test_a_model_against_itself_passes_in_twenty_of_twenty_rollouts(
    tmp_path: Path, registry: Path
) -> None:
    """All at once, so without the check of latencies: they are those of one busy server."""
    names = [f"r{n}" for n in range(20)]
    async with model_servers(registry, "v2") as urls:
        config = "backends:\n" + backend("v2", urls["v2"]) + backend("again", urls["v2"])
        routes = "".join(route(name, "v2", "again", PREDICTIONS) for name in names)
        left, _, _ = await outcome(tmp_path, f"{config}routes:{routes}", names, urls["v2"])
    assert [left[name]["step"] for name in names] == [1] * 20
