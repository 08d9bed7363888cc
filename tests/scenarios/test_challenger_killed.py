"""kill -9 of the challenger under load, with a fallback: no request fails, and the rollout is aborted."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until


async def test_no_request_fails_and_the_rollout_is_aborted(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, canary("[{weight: 50%, hold: 1h}]")))
    async with running(proxy), Load(proxy.url) as load:
        await wait_until(lambda: load.answers["v3"] > 200, f"answers of v3 {load.failures[:3]}")
        killed_at = time.time()
        await models["v3"].stop(signal.SIGKILL)
        await wait_until(lambda: aborted(proxy), "the abort")
        await load.wait_for_answers(300)
        assert load.failures == []
        assert await proxy.split() in ({"v2": 1.0}, {"v2": 1.0, "v3": 0.0})
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        abort = next(d for d in decisions if d["action"] == "abort")
        assert abort["actor"] == "loop"
        assert "no connection" in abort["reason"]
        print(f"aborted {abort['at'] - killed_at:.2f} s after the kill: {abort['reason']}")


async def aborted(proxy: Proxy) -> bool:
    return bool((await proxy.rollout())["phase"] == "aborted")
