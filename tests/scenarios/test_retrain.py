"""An order to train a model again survives the proxy, and is carried out once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from aiohttp import web

from loadtests.ports import free_port
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Model, Proxy, running, wait_until


async def test_an_order_survives_kill_9_and_a_takeover(tmp_path: Path, models: dict[str, Model]) -> None:
    told: list[Any] = []
    status = [503]

    async def answer(request: web.Request) -> web.Response:
        told.append(await request.json())
        return web.json_response({"version": "v5"}, status=status[0])

    port = free_port()
    app = web.Application()
    app.router.add_post("/train", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    retrain = f"    retrain: {{webhook: 'http://127.0.0.1:{port}/train', attempts: 100}}\n"
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 10%, hold: 1h}]", retrain)))
    try:
        async with running(proxy):
            code, given = await proxy.call("POST", "/api/v1/retrain/churn", {"reason": "by hand"})
            assert code == 202, given
            order = given["order"]["id"]
            await wait_until(lambda: told, "the webhook is told")
            await proxy.stop(signal.SIGKILL)
            told.clear()
            await proxy.start()
            await wait_until(lambda: told, "it is told again after kill -9")
            told.clear()
            assert await proxy.take_over() == 0
            await wait_until(lambda: told, "it is told by the successor")
            assert told[0]["id"] == order
            assert told[0]["predictions"].startswith(f"http://127.0.0.1:{proxy.admin_port}/api/v1/")
            status[0] = 202

            async def last() -> Any:
                return (await proxy.get("/api/v1/status"))["retrain"][0]["last"]

            ended = await wait_until(last, "the order ends")
            assert (ended["id"], ended["outcome"], ended["answer"]) == (order, "succeeded", {"version": "v5"})
            told.clear()
            await proxy.stop(signal.SIGKILL)
            await proxy.start()
            decisions = (await proxy.get("/api/v1/decisions?route=churn"))["decisions"]
            assert [d["action"] for d in decisions if "order" in d["to"]] == ["retrain", "retrained"]
            assert told == []
    finally:
        await runner.cleanup()
