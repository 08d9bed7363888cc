"""A good challenger passes its steps and is promoted; no request fails, and no customer moves twice."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until


@pytest.mark.parametrize("workers", [0, 1, 2])
async def test_a_good_canary_is_promoted_without_a_failed_request(
    tmp_path: Path, models: dict[str, Model], workers: int
) -> None:
    steps = "[{weight: 10%, hold: 500ms}, {weight: 50%, hold: 500ms}]"
    proxy = Proxy(tmp_path, routing(models, canary(steps)), workers)
    async with running(proxy):
        async with Load(proxy.url) as load:
            await wait_until(lambda: promoted(proxy), "the promotion")
            await load.wait_for_answers(200)
        assert await proxy.split() == {"v2": 0.0, "v3": 1.0} or (await proxy.split()) == {"v3": 1.0}
        assert load.failures == []
        paths = [[name for name, _ in groupby(backends)] for backends in load.assigned.values()]
        assert all(path in (["v2"], ["v2", "v3"], ["v3"]) for path in paths)
        actions = [d["action"] for d in (await proxy.get("/api/v1/decisions"))["decisions"]]
        assert actions.index("promote") > actions.index("advance")


async def promoted(proxy: Proxy) -> bool:
    return bool((await proxy.rollout())["phase"] == "promoted")
