"""The watch after a promote: with a holdback the former champion keeps some of its customers until the watch ends."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

STEPS = "[{weight: 10%, hold: 500ms}, {weight: 50%, hold: 500ms}]"
CHECK = "checks: [{metric: error_rate, max: 1%}]"


def watched(watch: str) -> str:
    """Compared with the champion only, and without a fuse that would be quicker."""
    comparing = "checks: [{metric: error_rate, max_increase: 1%}]\n      fuse: false"
    return canary(STEPS, f"      watch: {watch}\n").replace(CHECK, comparing)


async def phase(proxy: Proxy) -> str:
    return str((await proxy.rollout())["phase"])


async def test_the_challenger_gets_the_rest_when_the_watch_ends(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, watched("{for: 3s, holdback: 10%}")), 1)

    async def has(split: dict[str, float]) -> bool:
        return {name: share for name, share in (await proxy.split()).items() if share} == split

    async with running(proxy):
        async with Load(proxy.url) as load:
            await wait_until(lambda: has({"v2": 0.1, "v3": 0.9}), "the promotion with a holdback")
            kept = load.answers["v2"]
            await wait_until(lambda: load.answers["v2"] > kept, "an answer of the former champion")
            await wait_until(lambda: has({"v3": 1.0}), "the end of the watch")
            await load.wait_for_answers(200)
        assert load.failures == []
        paths = [[name for name, _ in groupby(backends)] for backends in load.assigned.values()]
        assert all(path in (["v2"], ["v2", "v3"], ["v3"]) for path in paths)
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        assert [d["action"] for d in decisions][-2:] == ["promote", "watch_ended"]
        assert decisions[-1]["reason"] == "the watch ended without a FAIL: v3 gets the 10% that v2 kept"


async def test_a_fault_after_the_promote_is_found_by_comparison_and_rolled_back(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, watched("{for: 1h, holdback: 10%}")), 1)

    async def is_in(wanted: str) -> bool:
        return await phase(proxy) == wanted

    async with running(proxy):
        async with Load(proxy.url, pause=0.01):  # it needs events in several blocks of five seconds
            await wait_until(lambda: is_in("promoted"), "the promotion")
            models["v3"].toggle_errors()
            await wait_until(lambda: is_in("rolled_back"), "the rollback")
        assert {name: share for name, share in (await proxy.split()).items() if share} == {"v2": 1.0}
        last = (await proxy.get("/api/v1/decisions"))["decisions"][-1]
        assert last["action"] == "rollback"
        assert "failed in the watch" in last["reason"]
        assert "of the champion's" in last["reason"]
