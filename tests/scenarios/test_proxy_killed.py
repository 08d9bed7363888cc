"""kill -9 of the proxy or of a worker: the next process continues with the same weights, ledger and step."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

STEPS = "[{weight: 20%, hold: 300ms}, {weight: 40%, hold: 1h}]"


async def second_step(proxy: Proxy) -> bool:
    return bool((await proxy.rollout())["step"] == 1)


async def backends_of(proxy: Proxy, customers: range) -> list[str]:
    """The backend that answers each customer."""
    import aiohttp

    found = []
    async with aiohttp.ClientSession() as session:
        for customer in customers:
            async with session.post(f"{proxy.url}/predict", json={"customer_id": customer}) as response:
                found.append(response.headers["x-crossfade-backend"])
    return found


async def test_a_restarted_proxy_continues_with_the_same_step_and_ledger(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, canary(STEPS)))
    async with running(proxy):
        async with Load(proxy.url):
            await wait_until(lambda: second_step(proxy), "the second step")
        before = await proxy.rollout()
        split, backends_before = await proxy.split(), await backends_of(proxy, range(300))
        version = (await proxy.get("/api/v1/routes/churn"))["ledger_version"]
        workers = [w["pid"] for w in (await proxy.get("/api/v1/status"))["workers"]]
        await proxy.stop(signal.SIGKILL)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

        await proxy.start()
        after = await proxy.rollout()
        assert (after["phase"], after["step"], after["since"]) == ("progressing", 1, before["since"])
        assert await proxy.split() == split == {"v2": 0.6, "v3": 0.4}
        assert (await proxy.get("/api/v1/routes/churn"))["ledger_version"] == version
        assert await backends_of(proxy, range(300)) == backends_before


async def test_orphaned_workers_serve_until_the_next_proxy_is_ready(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, canary(STEPS)))
    async with running(proxy):
        workers = [w["pid"] for w in (await proxy.get("/api/v1/status"))["workers"]]
        async with Load(proxy.url) as load:
            await load.wait_for_answers(100)
            await proxy.stop(signal.SIGKILL)
            await load.wait_for_answers(200)  # without a control process
            await proxy.start()
            await wait_until(lambda: not any(alive(pid) for pid in workers), "the orphaned workers to exit")
            await load.wait_for_answers(200)
        assert load.failures == []


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_a_killed_worker_is_replaced(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = Proxy(tmp_path, routing(models, canary(STEPS)))
    async with running(proxy):
        victim = (await proxy.get("/api/v1/status"))["workers"][0]["pid"]
        os.kill(victim, signal.SIGKILL)

        async def replaced() -> bool:
            workers = (await proxy.get("/api/v1/status"))["workers"]
            return all(w["up"] for w in workers) and victim not in [w["pid"] for w in workers]

        await wait_until(replaced, "a new worker")
        assert 'crossfade_worker_restarts_total{worker="0"} 1.0' in await proxy.get("/metrics")
        async with Load(proxy.url) as load:
            await load.wait_for_answers(200)
        assert load.failures == []


async def test_a_stopped_worker_is_replaced(tmp_path: Path, models: dict[str, Model]) -> None:
    """Without traffic. The worker does not react to TERM either."""
    proxy = Proxy(tmp_path, routing(models, canary(STEPS)))
    async with running(proxy):
        victim = (await proxy.get("/api/v1/status"))["workers"][1]["pid"]
        os.kill(victim, signal.SIGSTOP)
        await wait_until(lambda: not alive(victim), "the end of the stopped worker")

        async def replaced() -> bool:
            workers = (await proxy.get("/api/v1/status"))["workers"]
            return bool(workers[1]["up"] and workers[1]["pid"] != victim)

        await wait_until(replaced, "a new worker")
        assert "hangs: no answer for" in proxy.output
