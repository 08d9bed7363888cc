"""An INT8 version behind the proxy, by the example of the docs: shadowed, compared, promoted like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.test_batch import python
from tests.scenarios.test_shadow_models import customers, model_servers

EXAMPLE = Path(__file__).parents[2] / "config/examples/edge.yaml"
# Of seconds, and without what is only true of a machine that has nothing else to do.
SHORT = {
    "listen: 127.0.0.1:8080\n": "",
    "hold: 1h": "hold: 1s",
    "hold: 24h": "hold: 1s",
    "min_requests: 1000": "min_requests: 200",
    "        - {metric: latency, quantile: p99, max_ratio: 1.25}\n": "",
}


async def ask(proxy: Proxy, done: asyncio.Event, answered: Counter[tuple[str, str]]) -> None:
    """Counts who answered: by the proxy's header, and by the answer itself."""
    async with aiohttp.ClientSession() as session:
        while not done.is_set():
            for features, _ in customers():
                async with session.post(f"{proxy.url}/predict", json=features) as response:
                    answer = await response.json()
                    assert response.status == 200, answer
                    answered[response.headers["x-crossfade-backend"], answer["model_version"]] += 1
                if done.is_set():
                    break


async def test_an_int8_version_is_shadowed_compared_and_promoted(tmp_path: Path) -> None:
    registry = tmp_path / "models"
    for module, *arguments in (("train", "--rows", "4000"), ("edge", "quantize", "churn@v2")):
        code, output = await python(f"crossfade_backends.{module}", *arguments, "--registry", str(registry))
        assert code == 0, output
    config = EXAMPLE.read_text()
    for long, short in SHORT.items():
        assert long in config
        config = config.replace(long, short)
    async with model_servers(registry, "v2", "v2-int8") as urls:
        config = config.replace("http://127.0.0.1:8002", urls["v2"]).replace(
            "http://127.0.0.1:8012", urls["v2-int8"]
        )
        proxy, done = Proxy(tmp_path, config), asyncio.Event()
        answered: Counter[tuple[str, str]] = Counter()
        async with running(proxy):
            asking = [asyncio.ensure_future(ask(proxy, done, answered)) for _ in range(4)]
            found: dict[str, Any] = {}

            async def has_ended() -> bool:
                for task in asking:
                    if task.done():
                        task.result()
                found.update(await proxy.rollout())
                return found["phase"] not in ("progressing", "paused")

            try:
                await wait_until(has_ended, lambda: f"it is promoted: {found}")
                assert found["phase"] == "promoted", found
                in_charge = ("churn-v2-int8", "v2-int8")
                before = answered[in_charge]
                await wait_until(lambda: answered[in_charge] > before + 20, "the INT8 version answers all")
            finally:
                done.set()
            await asyncio.gather(*asking)
            assert (await proxy.split())["churn-v2-int8"] == 1.0
            assert set(answered) == {("churn-v2", "v2"), in_charge}
            compared = await proxy.get("/api/v1/comparisons/churn")
    assert compared["pairs"] >= 200
