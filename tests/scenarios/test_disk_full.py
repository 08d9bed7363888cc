"""A full disk during a rollout: requests are served, exposure does not rise, and the status reports it."""

from __future__ import annotations

import resource
from pathlib import Path

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


async def test_exposure_does_not_rise_while_the_disk_is_full(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 10%, hold: 1s}, {weight: 50%, hold: 500ms}]")))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 5, "the first step")
        # With this limit no file of the process can grow, as on a full disk.
        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

        async def store_failed() -> bool:
            return not (await proxy.get("/api/v1/status"))["store_ok"]

        await wait_until(store_failed, "the status to report that the store failed")
        await load.wait_for_answers(500)
        assert await proxy.split() == {"v2": 0.9, "v3": 0.1}
        rollout = await proxy.rollout()
        assert (rollout["phase"], rollout["step"]) == ("progressing", 0)

        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, UNLIMITED)

        async def promoted() -> bool:
            return bool((await proxy.rollout())["phase"] == "promoted")

        await wait_until(promoted, "the promotion after the disk has space again")
        assert (await proxy.get("/api/v1/status"))["store_ok"]
        assert load.failures == []


async def test_an_abort_acts_while_the_disk_is_full(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 50%, hold: 1h}]")))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 5, "the first step")
        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        status, answer = await proxy.call("POST", "/api/v1/rollouts/churn/abort")
        assert status == 202, answer
        assert answer["not_durable"].startswith("in force, but on no disk")
        assert (await proxy.split()).get("v3", 0.0) == 0.0
        await load.wait_for_answers(100)
        resource.prlimit(proxy.child.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        assert load.failures == []
