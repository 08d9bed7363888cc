"""An endpoint is drained under load: no request is lost, none arrives there, and undrain brings it back.

A restart and a takeover keep it drained.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import aiohttp

from tests.scenarios.harness import Load, Model, Proxy, running, wait_until
from tests.scenarios.websocket_model import websocket_model


async def change_endpoint(proxy: Proxy, url: str, verb: str) -> None:
    status, answer = await proxy.call("POST", f"/api/v1/backends/v2/endpoints/{quote(url, safe='')}/{verb}")
    assert status == 200, answer


async def test_an_endpoint_is_drained_under_load(tmp_path: Path) -> None:
    first, second = Model("first"), Model("second")
    urls = [f"http://127.0.0.1:{model.port}" for model in (first, second)]
    config = (
        f"backends:\n  v2: {{endpoints: [{', '.join(urls)}], health: {{interval: 100ms}}, slow_start: 0}}\n"
        "routes:\n  - {name: churn, match: {path: /predict}, split: {v2: 100%}, retry: {pure: true}}\n"
    )
    proxy = Proxy(tmp_path, config)

    async def change(verb: str) -> None:
        await change_endpoint(proxy, urls[0], verb)

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


async def test_a_takeover_keeps_an_endpoint_drained_and_the_websocket_there(tmp_path: Path) -> None:
    async with (
        websocket_model("first") as first,
        websocket_model("second") as second,
        aiohttp.ClientSession() as session,
    ):
        urls = [f"http://127.0.0.1:{model.port}" for model in (first, second)]
        proxy = Proxy(
            tmp_path,
            f"backends:\n  v2: {{endpoints: [{', '.join(urls)}], health: {{interval: 100ms}}, slow_start: 0}}\n"
            "routes:\n  - {name: churn, split: {v2: 100%}, retry: {pure: true}}\n",
        )

        async def in_flight(count: int) -> bool:
            endpoint = (await proxy.get("/api/v1/backends/v2"))["endpoints"][0]
            assert endpoint["drained"]
            return bool(endpoint["in_flight"] == count)

        async def still_there() -> None:
            await old.send_str("still there")
            assert await old.receive_str() == "still there"

        async with running(proxy):
            url = f"ws://127.0.0.1:{proxy.port}/chat"
            await change_endpoint(proxy, urls[1], "drain")
            old = await session.ws_connect(url)
            assert await old.receive_str() == "first"
            await change_endpoint(proxy, urls[1], "undrain")
            await change_endpoint(proxy, urls[0], "drain")
            async with Load(proxy.url, backends={"first": "v2", "second": "v2"}) as load:
                await load.wait_for_answers(20)
                assert await proxy.take_over() == 0, proxy.output
                await still_there()
                await wait_until(lambda: in_flight(1), "the socket of the worker that drains is counted")
                async with session.ws_connect(url) as new:
                    assert await new.receive_str() == "second"
                await still_there()
                await load.wait_for_answers(200)
                message = await old.receive()
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
                await wait_until(lambda: in_flight(0), "nothing is in flight there")
                assert (load.failures, load.answers["first"], first.opened) == ([], 0, 1)
                await change_endpoint(proxy, urls[0], "undrain")
                await load.wait_for_answers(200)
                assert load.answers["first"]
            assert load.failures == []
