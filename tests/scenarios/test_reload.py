"""Reloads under load, by signal and by file change: no request fails, and an invalid file changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

ALL_V2 = "    split: {v2: 100%}\n"
HALF = "    split: {v2: 50%, v3: 50%}\n"


@pytest.mark.parametrize("by_signal", [True, False])
async def test_no_request_fails_when_weights_are_reloaded(
    tmp_path: Path, models: dict[str, Model], by_signal: bool
) -> None:
    proxy = Proxy(tmp_path, routing(models, ALL_V2))
    halves, whole = {"v2": 0.5, "v3": 0.5}, {"v2": 1.0}
    async with running(proxy), Load(proxy.url) as load:
        for content, expected in ((HALF, halves), (ALL_V2, whole), (HALF, halves)):
            await load.wait_for_answers(100)
            proxy.write(routing(models, content))
            if by_signal:
                proxy.child.send_signal(signal.SIGHUP)

            async def applied(expected: dict[str, float] = expected) -> bool:
                return {name: share for name, share in (await proxy.split()).items() if share} == expected

            await wait_until(applied, "the new split")
        await load.wait_for_answers(100)
        assert load.failures == []
        assert load.answers["v3"] > 0


async def test_an_invalid_file_changes_only_the_status(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url) as load:
        before = await proxy.get("/api/v1/status")
        for bad in (
            "    split: {v2: 50%, v3: 60%}\n",
            "    split: {v9: 100%}\n",
            "    splat: {v2: 1}\n",
            "   : [\n",
        ):
            proxy.write(routing(models, bad))
            proxy.child.send_signal(signal.SIGHUP)

            async def refused() -> bool:
                return not (await proxy.get("/api/v1/status"))["config"]["ok"]

            await wait_until(refused, "the status to report the error")
            assert "crossfade_config_last_reload_successful 0.0" in await proxy.get("/metrics")
            assert await proxy.split() == {"v2": 0.5, "v3": 0.5}
            status, problem = await proxy.call("POST", "/api/v1/reload")
            assert status == 422, problem
        await load.wait_for_answers(50)
        assert (await proxy.get("/api/v1/status"))["config"]["hash"] == before["config"]["hash"]
        proxy.write(routing(models, HALF))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        assert (await proxy.get("/api/v1/status"))["config"]["ok"]
        assert load.failures == []


async def test_a_drain_finishes_all_requests_in_flight(tmp_path: Path, models: dict[str, Model]) -> None:
    """Every answer is complete. Later clients cannot connect; no connection is cut off."""
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy), Load(proxy.url, pause=0.0) as load:
        await load.wait_for_answers(200)
        proxy.child.send_signal(signal.SIGTERM)
        code = await proxy.child.wait()
        load.stopping = True
    assert code == 0, proxy.output
    assert all("ClientConnectorError" in failure for failure in load.failures), load.failures[:5]
