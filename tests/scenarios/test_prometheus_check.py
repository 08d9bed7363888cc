"""A check on a number from a Prometheus server aborts a rollout."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from loadtests.ports import free_port
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Model, Proxy, running, wait_until


async def test_a_value_above_its_limit_aborts_the_rollout(tmp_path: Path, models: dict[str, Model]) -> None:
    value, port = ["0.2"], free_port()

    async def answer(request: web.Request) -> web.Response:
        sample = {"metric": {}, "value": [0.0, value[0]]}
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": [sample]}})

    app = web.Application()
    app.router.add_get("/api/v1/query", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    rollout = canary("[{weight: 10%, hold: 1h}]").replace(
        "checks: [", "checks: [{metric: prometheus, name: gpu, query: gpu, max: 0.5}, "
    )
    top = f"prometheus: {{url: 'http://127.0.0.1:{port}', interval: 100ms}}\n"
    proxy = Proxy(tmp_path, top + routing(models, rollout))
    try:
        async with running(proxy):

            async def verdict_is(verdict: str) -> bool:
                found = {v["check"]: v["verdict"] for v in (await proxy.rollout())["verdicts"]}
                return found.get("prometheus gpu <= 0.5") == verdict

            await wait_until(lambda: verdict_is("PASS"), "the verdict PASS")
            value[0] = "NaN"
            await wait_until(lambda: verdict_is("VOID"), "the verdict VOID")
            value[0] = "0.7"

            async def aborted() -> bool:
                return bool((await proxy.rollout())["phase"] == "aborted")

            await wait_until(aborted, "the abort")
    finally:
        await runner.cleanup()
