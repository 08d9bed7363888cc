"""The history of a real proxy counts each request once, through a restart, a takeover and a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

HALF = "    split: {v2: 50%, v3: 50%}\n    slo: batch\n"


async def counted(proxy: Proxy) -> int:
    return int((await proxy.get("/api/v1/summary?days=2"))["routes"][0]["requests"])


async def send(proxy: Proxy, requests: int) -> int:
    """How many were answered; all of them."""
    async with Load(proxy.url) as load:
        await load.wait_for_answers(requests)
    assert load.failures == []
    return load.total


async def test_a_restart_a_takeover_and_a_kill_leave_the_page_full(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, HALF))
    async with running(proxy):
        sent = await send(proxy, 200)
        await proxy.stop()
        await proxy.start()
        assert await counted(proxy) == sent
        sent += await send(proxy, 100)
        await proxy.take_over()

        async def all_are_there() -> bool:
            return await counted(proxy) == sent

        await wait_until(all_are_there, "the next sample, with what was in flight at the takeover")
        workers = [w["pid"] for w in (await proxy.get("/api/v1/status"))["workers"]]
        await proxy.stop(signal.SIGKILL)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        await proxy.start()
        assert await counted(proxy) == sent
        (row,) = (await proxy.get("/api/v1/summary?days=2"))["routes"]
        assert (row["availability"], row["latency"]["class"], row["latency"]["met_share"]) == (
            1.0,
            "batch",
            1.0,
        )
        shown = await proxy.get("/api/v1/history/churn")
        plotted = sum(rate * shown["step"] for rate in shown["backends"]["v2"]["requests"] if rate)
        assert plotted > 0
        assert (tmp_path / "state.db.history").exists()
