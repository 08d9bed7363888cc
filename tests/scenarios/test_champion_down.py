"""A challenger FAILs while the champion is down: it goes on answering, and the rollout ends when the champion is back."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

ABORT = "/api/v1/rollouts/churn/abort"


async def test_nobody_is_sent_to_a_champion_that_is_down(tmp_path: Path) -> None:
    models = {"v2": Model("v2"), "v3": Model("v3", errors=0.7)}
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 1%, hold: 1h}]", "      watch: 1h\n")))

    async def v2_is_down() -> bool:
        endpoints = (await proxy.get("/api/v1/backends/v2"))["endpoints"]
        return [endpoint["up"] for endpoint in endpoints] == [False]

    async def has_no_way_back() -> bool:
        return bool((await proxy.rollout())["no_way_back"])

    async def is_rolled_back() -> bool:
        return bool((await proxy.rollout())["phase"] == "rolled_back")

    async with running(*models.values()), running(proxy):
        assert (await proxy.call("POST", "/api/v1/rollouts/churn/promote"))[0] == 200
        await models["v2"].stop()
        await wait_until(v2_is_down, "the probes of v2 to fail")
        async with Load(proxy.url) as load:
            await wait_until(has_no_way_back, "the FAIL")
            status, answer = await proxy.call("POST", ABORT)
            assert (status, "no endpoint of v2 is up" in answer["detail"]) == (409, True)
            before = load.answers["v3"]
            await load.wait_for_answers(200)
            assert load.answers["v3"] >= before + 200
            assert await proxy.split() in ({"v3": 1.0}, {"v2": 0.0, "v3": 1.0})
            await models["v2"].start()
            await wait_until(is_rolled_back, "the rollback")
            load.failures.clear()
            await load.wait_for_answers(200)
            assert load.failures == []
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        actions = [d["action"] for d in decisions]
        assert "no_way_back" in actions and actions[-1] == "rollback"
