"""The response cache in the whole proxy: commands to rollouts and splits empty it, and feedback to a hit is joined."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Model, Proxy, running, wait_until
from tests.scenarios.prediction_log import logged

CACHE = "    cache: {ttl: 1h}\n    feedback: {horizon: 1h}\n"
SPLIT = "    split: {v2: 100%}\n"
HELD = canary("[{weight: 50%, hold: 24h}, {weight: 100%, hold: 0s}]")
JOINED = "SELECT CAST(p.request_id AS TEXT), p.role, f.value FROM feedback f JOIN prediction p USING (seq)"


class Asker:
    """The same request again and again."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self.proxy = proxy
        self.session = session
        self.last: dict[str, str] = {}

    async def ask(self) -> tuple[str, str]:
        """Who answered, and what the cache says."""
        async with self.session.post(f"{self.proxy.url}/predict", json={"customer_id": 1}) as response:
            assert response.status == 200
            body = await response.text()
            self.last = {name.lower(): value for name, value in response.headers.items()}
        assert self.last["x-crossfade-backend"] == body, "a version never answers for another one"
        return body, self.last.get("x-crossfade-cache", "-")

    async def until(self, *expected: tuple[str, str]) -> None:
        """The workers get a change a moment after the command is answered."""
        for one in expected:

            async def is_so(wanted: tuple[str, str] = one) -> bool:
                return await self.ask() == wanted

            await wait_until(is_so, f"the answer is {one}")

    async def misses_once(self, backend: str) -> None:
        """Behind a change: one answer of the model, and from then on that one."""
        seen = [await self.ask()]
        while (backend, "hit") not in seen[-1:] or (backend, "miss") not in seen:
            seen.append(await self.ask())
            assert seen.count((backend, "miss")) <= 1
            await asyncio.sleep(0)


async def test_commands_empty_the_cache_and_hits_are_no_evidence(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, SPLIT + CACHE), workers=1)
    async with running(proxy), aiohttp.ClientSession() as session:
        asker = Asker(proxy, session)
        await asker.misses_once("v2")
        assert int(asker.last["age"]) >= 0

        await feedback_to_a_hit_is_joined(proxy, asker, tmp_path)

        status, answer = await proxy.call("PUT", "/api/v1/routes/churn/split", {"v2": 0, "v3": 100})
        assert status == 200, answer
        await asker.misses_once("v3")
        status, answer = await proxy.call("PUT", "/api/v1/routes/churn/split", {"v2": 100, "v3": 0})
        assert status == 200, answer
        await asker.misses_once("v2")

        proxy.write(routing(models, HELD + CACHE))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        await wait_until(lambda: is_without(asker), "the cache stands still while the rollout is judged")
        status, answer = await proxy.call("POST", "/api/v1/rollouts/churn/abort", {"reason": "test"})
        assert status == 200, answer
        await asker.misses_once("v2")
        await counted_apart(proxy)


async def is_without(asker: Asker) -> bool:
    return (await asker.ask())[1] == "-"


async def feedback_to_a_hit_is_joined(proxy: Proxy, asker: Asker, folder: Path) -> None:
    assert (await asker.ask())[1] == "hit"
    request_id = asker.last["x-request-id"]
    row = {"request_id": request_id, "label": 1}

    async def is_joined() -> bool:
        status, answer = await proxy.call("POST", "/api/v1/feedback", row)
        assert status == 202, answer
        return (request_id, "cached", 1.0) in await logged(folder, JOINED)

    await wait_until(is_joined, "the feedback to the hit is joined")


async def counted_apart(proxy: Proxy) -> None:
    async def is_counted() -> bool:
        page: Any = await proxy.get("/metrics")
        return (
            'crossfade_cache_total{outcome="hit",route="churn"}' in page
            and 'role="cached",route="churn"' in page
        )

    await wait_until(is_counted, "hits are counted")
