"""An A/B test of two challengers by the purchases of customers: one is kept out, the better one is promoted, by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until
from tests.scenarios.visiting import Visiting

BUYS = {"v2": 0.3, "v3": 0.6, "v4": 0.3}


def rollout(challenger: str) -> str:
    return f"""\
      - strategy: ab_test
        champion: v2
        challenger: {challenger}
        steps: [{{weight: 33%, hold: 1s}}]
        min_requests: 50
        alpha: 5%
        primary: bought
        min_lift: 40%
        min_effect: 20%
        act: true
        checks:
          - {{metric: error_rate, max: 5%}}
          - {{metric: kpi, name: bought, kind: event, min_increase: -0.5}}
"""


ROUTE = "    split: {v2: 100%}\n    feedback: {horizon: 2s}\n    rollout:\n" + rollout("v3") + rollout("v4")


class Shop(Visiting):
    """Customers that ask, and buy or not: each purchase is told by the id of its request."""

    async def come(self) -> None:
        while True:
            rows = await asyncio.gather(*(self.visit() for _ in range(50)))
            url = f"http://127.0.0.1:{self.proxy.admin_port}/api/v1/feedback"
            async with self.session.post(url, json=rows) as response:
                assert response.status == 202, await response.text()
            self.asked += len(rows)

    async def visit(self) -> dict[str, Any]:
        async with self.session.post(
            f"{self.proxy.url}/predict", json={"customer_id": f"{self.rng.random()}"}
        ) as response:
            await response.read()
            assert response.status == 200
            bought = self.rng.random() < BUYS[response.headers["x-crossfade-backend"]]
            return {"request_id": response.headers["x-request-id"], "name": "bought", "value": int(bought)}


async def test_the_best_of_two_challengers_is_promoted_by_its_purchases(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, ROUTE), workers=1)
    async with running(proxy), Shop(proxy) as shop:

        async def phases() -> dict[str, str]:
            return {r["challenger"]: r["phase"] for r in (await proxy.get("/api/v1/rollouts"))["rollouts"]}

        async def ended() -> bool:
            shop.look()
            return await phases() == {"v3": "promoted", "v4": "aborted"}

        await wait_until(ended, lambda: f"v3 is promoted and v4 aborted, after {shop.asked} requests")
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        ends = {d["to"]["challenger"]: d for d in decisions if d["action"] in ("promote", "abort")}
        assert ends["v4"]["reason"].startswith("KEEP v2: v4 gains")
        assert ends["v3"]["reason"].startswith("PROMOTE: v3 gains")
        assert {d["actor"] for d in ends.values()} == {"loop"}
        assert ends["v4"]["id"] < ends["v3"]["id"]
        value = await proxy.get("/api/v1/value/churn?if=v3=100%25&name=bought")
        assert value["found"]["refused"] == ""
        low, high = value["found"]["interval"]
        assert low < BUYS["v3"] < high
        page = await metrics(shop.session, proxy)
        assert "crossfade_rollout_phase" in page


async def metrics(session: aiohttp.ClientSession, proxy: Proxy) -> str:
    async with session.get(f"http://127.0.0.1:{proxy.admin_port}/metrics") as response:
        return await response.text()
