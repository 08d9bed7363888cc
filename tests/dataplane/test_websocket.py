"""An aiohttp WebSocket client and server through a tunnel: frames, pings, close codes, and reloads under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from msgspec.structs import replace

from tests.dataplane.plane import BACKEND, Harness, endpoint, route
from tests.dataplane.wire import get, wait_until
from tests.scenarios.websocket_model import WebSocketModel, websocket_model


@pytest.fixture
async def model(harness: Harness) -> AsyncIterator[WebSocketModel]:
    async with websocket_model("v2") as model:
        harness.specs["v2"] = replace(BACKEND, name="v2", endpoints=(endpoint(model.port),))
        harness.use(route("v2"))
        yield model


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_frames_pings_and_the_close_code_pass_a_tunnel(
    harness: Harness, model: WebSocketModel, session: aiohttp.ClientSession
) -> None:
    url = f"http://127.0.0.1:{harness.port}/chat"
    async with session.ws_connect(url, protocols=("v1.chat",), compress=15) as ws:
        assert ws.protocol == "v1.chat"
        assert ws.compress, "the proxy does not touch the negotiated extensions"
        assert ws.get_extra_info("peername")[1] == harness.port
        assert await ws.receive_str() == "v2"
        for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000):
            await ws.send_bytes(bytes(size))
            assert await ws.receive_bytes() == bytes(size)
        await ws.ping()
        await ws.send_str("grüße")
        assert await ws.receive_str() == "grüße"
        await ws.close(code=4001)
    await wait_until(lambda: model.codes, "the server has the close code")
    assert model.codes == [4001]
    await wait_until(lambda: not harness.plane.tunnels, "the tunnel is gone")
    assert (await harness.cell("v2")).codes == {101: 1}


async def test_many_tunnels_survive_reloads(
    harness: Harness, model: WebSocketModel, session: aiohttp.ClientSession
) -> None:
    reloads = 0

    async def exchange_frames(n: int) -> None:
        async with session.ws_connect(f"http://127.0.0.1:{harness.port}/chat", max_msg_size=0) as ws:
            assert await ws.receive_str() == "v2"
            goal = reloads + 10
            while reloads < goal:
                data = bytes([n]) * (1 << n % 18)
                await ws.send_bytes(data)
                assert await ws.receive_bytes() == data

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(exchange_frames(n)) for n in range(20)]
        while not all(task.done() for task in tasks):
            harness.use(route("v2", upgrades=(b"websocket",), salt=b"%d" % reloads))
            reloads += 1
            await asyncio.sleep(0.01)
    await wait_until(lambda: len(model.codes) == 20, "the server has all close codes")
    assert model.codes == [1000] * 20
    assert (await harness.cell("v2")).codes == {101: 20}


async def test_a_server_may_refuse_an_upgrade(
    harness: Harness, model: WebSocketModel, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"http://127.0.0.1:{harness.port}/elsewhere")
    assert refused.value.status == 200
    client = await harness.client()
    await client.send(get("/elsewhere", [b"Connection: Upgrade", b"Upgrade: websocket"]))
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"v2")


async def test_at_the_end_of_a_drain_both_sides_get_1001(
    harness: Harness, model: WebSocketModel, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(f"http://127.0.0.1:{harness.port}/chat") as ws:
        assert await ws.receive_str() == "v2"
        await ws.send_bytes(bytes(70_000))
        assert await ws.receive_bytes() == bytes(70_000)
        draining = asyncio.create_task(harness.plane.drain(1000.0))
        await wait_until(lambda: harness.plane.draining, "the drain has begun")
        await ws.send_str("the drain waits")
        assert await ws.receive_str() == "the drain waits"
        harness.plane.end_drain_within(0.9)
        message = await ws.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
    await wait_until(lambda: model.codes, "the server has the close code")
    assert model.codes == [1001]
    await draining
