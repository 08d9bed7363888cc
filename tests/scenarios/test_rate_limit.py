"""A rate limit applies to all workers together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

BURST = 40


async def test_workers_share_a_rate_limit(tmp_path: Path, models: dict[str, Model]) -> None:
    limits = f"    split: {{v2: 100%}}\n    limits: {{rate: {{key: client_ip, per_second: 0.01, burst: {BURST}}}}}\n"
    proxy = Proxy(tmp_path, routing(models, limits), workers=3)

    async def send(_: int) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{proxy.url}/predict", json={"customer_id": 1}) as response,
        ):
            return response.status

    async with running(proxy):
        statuses = await asyncio.gather(*map(send, range(3 * BURST)))
        assert set(statuses) == {200, 429}
        assert statuses.count(200) == BURST
        refused = f'crossfade_refused_total{{code="429",stage="rate"}} {float(statuses.count(429))}'

        async def counted() -> bool:
            return refused in (await proxy.call("GET", "/metrics"))[1]

        await wait_until(counted, refused)
