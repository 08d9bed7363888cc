"""An endpoint is drained under load: no request is lost, none arrives there, a restart keeps it, and undrain brings it back."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import aiohttp

from tests.scenarios.harness import Load, Model, Proxy, running, wait_until


async def test_an_endpoint_is_drained_under_load(tmp_path: Path) -> None:
    first, second = Model("first"), Model("second")
    urls = [f"http://127.0.0.1:{model.port}" for model in (first, second)]
    config = (
        f"backends:\n  v2: {{endpoints: [{', '.join(urls)}], health: {{interval: 100ms}}, slow_start: 0}}\n"
        "routes:\n  - {name: churn, match: {path: /predict}, split: {v2: 100%}, retry: {pure: true}}\n"
    )
    proxy = Proxy(tmp_path, config)

    async def change(verb: str) -> None:
        place = f"http://127.0.0.1:{proxy.admin_port}/api/v1/backends/v2/endpoints/{quote(urls[0], safe='')}"
        async with aiohttp.ClientSession() as session, session.post(f"{place}/{verb}") as answer:
            assert answer.status == 200, await answer.text()

    async def is_empty() -> bool:
        endpoint = (await proxy.get("/api/v1/backends/v2"))["endpoints"][0]
        assert endpoint["drained"]
        return bool(endpoint["in_flight"] == 0)

    async def serves_only_the_second() -> None:
        await wait_until(is_empty, "nothing is in flight there")
        await load.wait_for_answers(10)  # of what had its answer before it was counted
        before = load.answers["first"]
        await load.wait_for_answers(300)
        assert load.answers["first"] == before

    async with running(first, second, proxy):
        async with Load(proxy.url, backends={"first": "v2", "second": "v2"}) as load:
            await load.wait_for_answers(200)
            assert load.answers["first"]
            await change("drain")
            await serves_only_the_second()
        assert load.failures == []
        await proxy.stop()
        await proxy.start()
        async with Load(proxy.url, backends={"first": "v2", "second": "v2"}) as load:
            await serves_only_the_second()
            assert load.answers["first"] == 0
            await change("undrain")
            await load.wait_for_answers(300)
            assert load.answers["first"]
        assert load.failures == []
