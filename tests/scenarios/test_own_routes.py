"""Routes that the proxy answers itself, beside others, in the whole proxy: reload, metrics, status, access log."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

SPLIT = "    split: {v2: 100%}\n    cors: {origins: 'https://app.example'}\n"
MAINTENANCE = "    respond: {status: 503, body: back soon, headers: {retry-after: 60}}\n"
MOVED = "  - {name: moved, match: {prefix: /old}, redirect: {prefix: /new, status: 308}}\n"


async def ask(
    session: aiohttp.ClientSession, url: str, method: str = "POST", **headers: str
) -> tuple[int, str]:
    async with session.request(method, url, json={}, headers=headers, allow_redirects=False) as response:
        return response.status, response.headers.get("Location", "") or await response.text()


async def test_maintenance_begins_and_ends_by_edits_of_the_file(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    log = tmp_path / "access.log"
    top = f"access_log: {{to: {log}}}\n"
    proxy = Proxy(tmp_path, top + routing(models, SPLIT + MOVED))
    async with running(proxy), aiohttp.ClientSession() as session:
        before = await proxy.get("/api/v1/routes")
        assert (await ask(session, f"{proxy.url}/predict"))[0] == 200
        assert await ask(session, f"{proxy.url}/old/x?a=b") == (308, "/new/x?a=b")
        preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        assert (await ask(session, f"{proxy.url}/predict", "OPTIONS", **preflight))[0] == 204

        proxy.write(top + routing(models, MAINTENANCE + MOVED))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        assert await ask(session, f"{proxy.url}/predict") == (503, "back soon")
        assert [route["name"] for route in (await proxy.get("/api/v1/routes"))["routes"]] == []
        assert (await proxy.get("/api/v1/status"))["config"]["ok"]

        proxy.write(top + routing(models, SPLIT + MOVED))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        assert (await ask(session, f"{proxy.url}/predict"))[0] == 200
        after = await proxy.get("/api/v1/routes")
        assert [r["split"] for r in after["routes"]] == [r["split"] for r in before["routes"]]

        name = before["routes"][0]["name"]
        wanted = [
            f'crossfade_requests_total{{backend="",code="503",role="member",route="{name}"}} 1.0',
            f'crossfade_requests_total{{backend="",code="204",role="member",route="{name}"}} 1.0',
            'crossfade_requests_total{backend="",code="308",role="member",route="moved"} 1.0',
        ]

        async def counted() -> bool:
            page = await proxy.get("/metrics")
            return all(line in page for line in wanted)

        await wait_until(counted, "the counts of the proxy's own answers")

        async def logged() -> bool:
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            return [(line["route"], line["backend"]) for line in lines if line["status"] in (308, 503)] == [
                ("moved", ""),
                (name, ""),
            ]

        await wait_until(logged, "the lines of the access log")
