"""WebSockets through the proxy, with and without TLS, during reloads and a drain."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.test_tls import TLS
from tests.scenarios.websocket_model import WebSocketModel, websocket_model


def config(model: WebSocketModel, more: str = "") -> str:
    return (
        f"backends:\n  v2:\n    endpoints: [http://127.0.0.1:{model.port}]\n    health: {{interval: 200ms}}\n"
        f"routes:\n  - name: chat\n    split: {{v2: 100%}}\n{more}"
    )


async def in_flight(proxy: Proxy) -> int:
    text = await proxy.get("/metrics")
    (line,) = [x for x in text.splitlines() if x.startswith('crossfade_in_flight{backend="v2"}')]
    return int(float(line.rpartition(" ")[2]))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_websockets_survive_reloads_and_last_until_the_end_of_a_drain(
    tmp_path: Path, secure: bool
) -> None:
    tls = f"tls: {{cert: {TLS}/cert.pem, key: {TLS}/key.pem}}\n" if secure else ""
    trusting = ssl.create_default_context(cafile=str(TLS / "cert.pem")) if secure else True
    async with websocket_model("v2") as model, aiohttp.ClientSession() as session:
        proxy = Proxy(tmp_path, tls + config(model))
        async with running(proxy):
            url = f"{'wss' if secure else 'ws'}://localhost:{proxy.port}/chat"
            ended = await session.ws_connect(url, ssl=trusting)
            kept = await session.ws_connect(url, ssl=trusting)
            for ws in (ended, kept):
                assert await ws.receive_str() == "v2"
            await wait_until(lambda: both_in_flight(proxy), "two tunnels in flight")
            for n in range(3):
                proxy.write(tls + config(model, f"    limits: {{body: {n + 1}MiB}}\n"))
                assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
                for ws in (ended, kept):
                    await ws.send_str(f"after reload {n}")
                    assert await ws.receive_str() == f"after reload {n}"
            assert await ended.close()
            await wait_until(lambda: model.codes == [1000], "the close code at the model")
            await wait_until(lambda: counted(proxy, 2), "two counted requests")
            if secure:
                assert await kept.close()
                return
            proxy.child.send_signal(signal.SIGTERM)
            for n in range(3):
                await kept.send_str(f"draining {n}")
                assert await kept.receive_str() == f"draining {n}"
                await asyncio.sleep(0.3)
            message = await kept.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            await wait_until(lambda: model.codes == [1000, 1001], "the close code at the model")
            assert await proxy.child.wait() == 0, proxy.output


async def both_in_flight(proxy: Proxy) -> bool:
    return await in_flight(proxy) == 2


async def counted(proxy: Proxy, n: int) -> bool:
    found = [
        line
        for line in (await proxy.get("/metrics")).splitlines()
        if line.startswith("crossfade_requests_total{") and 'code="101"' in line
    ]
    return [line.rpartition(" ")[2] for line in found] == [f"{n}.0"]
