"""The disk under the state store fills up in mid-rollout: serving goes on, exposure does not rise, status says so."""

from __future__ import annotations

import resource
from pathlib import Path

from tests.scenarios.conftest import canary, routing
from tests.scenarios.stagehands import Load, Model, Proxy, running, wait_until

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


async def test_exposure_waits_for_the_disk(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 10%, hold: 1s}, {weight: 50%, hold: 500ms}]")))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 5, "the first step")
        # To the process this is what a full disk is: no file grows any more.
        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

        async def noticed() -> bool:
            return not (await proxy.get("/api/v1/status"))["store_ok"]

        await wait_until(noticed, "the status to say that the store is not well")
        await load.more(500)
        assert await proxy.split() == {"v2": 0.9, "v3": 0.1}
        rollout = await proxy.rollout()
        assert (rollout["phase"], rollout["step"]) == ("progressing", 0)

        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, UNLIMITED)

        async def promoted() -> bool:
            return bool((await proxy.rollout())["phase"] == "promoted")

        await wait_until(promoted, "the rollout to go on once there is room")
        assert (await proxy.get("/api/v1/status"))["store_ok"]
        assert load.failures == []


async def test_an_abort_does_not_wait_for_the_disk(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 50%, hold: 1h}]")))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 5, "the first step")
        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        status, answer = await proxy.call("POST", "/api/v1/rollouts/churn/abort")
        assert status == 200, answer
        assert (await proxy.split()).get("v3", 0.0) == 0.0
        await load.more(100)
        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        assert load.failures == []
