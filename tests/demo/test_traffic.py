"""The customers of the demo on a machine that is too slow for them."""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web
from aiohttp.test_utils import TestServer

from crossfade.demo import traffic
from crossfade.demo.traffic import Traffic


async def test_a_slow_machine_gets_fewer_requests_and_no_queue(monkeypatch) -> None:
    monkeypatch.setattr(traffic, "RATE", 100_000.0)
    monkeypatch.setattr(traffic, "CUSTOMERS", 40)
    waiting, most = Counter[str](), Counter[str]()
    served = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal served
        name = (await request.json())["customer_id"]
        waiting[name] += 1
        most[name] = max(most[name], waiting[name])
        most["all"] = max(most["all"], waiting.total())
        await asyncio.sleep(0.01)
        waiting[name] -= 1
        served += 1
        return web.json_response({"churn_probability": 0.5}, headers={"x-crossfade-backend": "v2"})

    app = web.Application()
    app.router.add_post("/predict", answer)
    async with TestServer(app) as server, asyncio.TaskGroup() as tasks:
        customers = Traffic(str(server.make_url("")).rstrip("/"))
        running = tasks.create_task(customers.run())
        while served < 300:
            await asyncio.sleep(0.01)
        assert customers.sent - served <= 24
        running.cancel()
    assert most.pop("all") <= 24
    assert set(most.values()) == {1}
