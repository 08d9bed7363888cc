"""The front end beside a real proxy with real models: which version answers, why, what the shadow says, and the split as it changes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from crossfade_backends.front import create_app
from crossfade_backends.front_asking import Places
from crossfade_backends.operations import ROW
from crossfade_backends.server import start_server
from crossfade_backends.train import DEFAULT_SEED, train_registry
from tests.backends.serving import serving
from tests.dashboard.browser import DESK, PHONE, TIMEOUT, chromium, faults_of, is_within_its_width, opened
from tests.scenarios.harness import Proxy, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONFIG = """
backends:
  v2: {{endpoints: {v2}, health: false}}
  v3: {{endpoints: {v3}, health: false}}
  v4: {{endpoints: {v4}, health: false}}
routes:
  - name: churn
    match: {{path: /predict, methods: [POST]}}
    sticky: [{{json: customer_id}}]
    split: {{v2: 50%, v3: 50%}}
    mirror: {{to: v4, sample: 25%, safe: true}}
"""


@dataclass(frozen=True)
class Site:
    url: str
    proxy: Proxy
    models: dict[str, str]


@asynccontextmanager
async def fronted(places: Places) -> AsyncIterator[str]:
    runner, url = await start_server(create_app(places), "127.0.0.1", 0)
    try:
        yield url
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    root = tmp_path_factory.mktemp("front")
    await asyncio.to_thread(train_registry, root / "models", 6_000, DEFAULT_SEED)
    async with AsyncExitStack() as stack:
        models = {}
        for version in ("v2", "v3", "v4"):
            client = await stack.enter_async_context(serving(root / "models", version))
            models[version] = str(client._build_url("/")).rstrip("/")
        proxy = Proxy(root, CONFIG.format(**models), workers=1)
        await stack.enter_async_context(running(proxy))
        places = Places(proxy.url, f"http://127.0.0.1:{proxy.admin_port}")
        url = await stack.enter_async_context(fronted(places))
        yield Site(url, proxy, models)


async def sent(method: str, url: str, **body: Any) -> tuple[int, Any, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.request(method, url, **body) as answer:
        return answer.status, await answer.json(), dict(answer.headers)


async def test_what_is_shown_is_what_happens(site: Site) -> None:
    backends = set()
    for n in range(12):
        row = {**ROW, "customer_id": f"C{n}"}
        status, found, _ = await sent("POST", f"{site.url}/ask", json=row)
        assert (status, found["status"]) == (200, 200)
        _, answer, headers = await sent("POST", f"{site.proxy.url}/predict", json=row)
        assert found["backend"] == headers["x-crossfade-backend"] == found["answer"]["model_version"]
        assert found["answer"]["churn_probability"] == answer["churn_probability"]
        assert found["why"]["how"] == "key" and found["why"]["bucket"] is not None
        assert {move["to"] for move in found["why"]["moves"]} == {"v2", "v3"} - {found["backend"]}
        [other] = found["others"]
        _, beside, _ = await sent("POST", f"{site.models['v4']}/predict", json=row)
        assert (other["backend"], other["share"], other["status"]) == ("v4", 0.25, 200)
        assert other["answer"]["churn_probability"] == beside["churn_probability"]
        backends.add(found["backend"])
    assert backends == {"v2", "v3"}


@pytest.mark.parametrize("said", ["<html>", "{}", "[]", '{"rollouts": [1], "endpoints": [{}], "mirrors": 3}'])
async def test_what_is_no_admin_api_is_said(site: Site, said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=said, content_type="text/html" if said == "<html>" else "application/json")

    page = web.Application()
    page.router.add_route("*", "/{path:.*}", answer)
    runner, admin = await start_server(page, "127.0.0.1", 0)
    try:
        async with fronted(Places(site.proxy.url, admin)) as url:
            for method, path, body in (("GET", "/live", {}), ("POST", "/ask", {"json": ROW})):
                status, found, _ = await sent(method, url + path, **body)
                assert status == 502
                assert "no admin API of Crossfade answers at" in found["detail"][0]["msg"]
    finally:
        await runner.cleanup()


async def test_a_visitor_sees_who_answers_and_the_split_as_it_changes(site: Site) -> None:
    async with chromium() as browser, opened(browser, site.url) as page:
        await expect(page.locator("#shares")).to_contain_text("v2: 50% of the customers", timeout=TIMEOUT)
        await expect(page.locator("#shares")).to_contain_text("v4: gets copies of 25%")
        await page.get_by_label("Customer", exact=True).fill("C7")
        await page.get_by_role("button", name="Ask", exact=True).click()
        _, _, headers = await sent("POST", f"{site.proxy.url}/predict", json={**ROW, "customer_id": "C7"})
        by = headers["x-crossfade-backend"]
        await expect(page.get_by_role("heading", name=f"{by} answered")).to_be_visible(timeout=TIMEOUT)
        await expect(page.get_by_role("heading", name="v4 would say")).to_be_visible()
        await expect(page.locator("#why")).to_contain_text("bucket")
        await page.get_by_role("button", name="Ask for 20 others").click()
        await expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled(timeout=TIMEOUT)
        counts = [int(text) for text in await page.locator("#asked td:nth-child(2)").all_inner_texts()]
        assert sum(counts) == 21
        changed = {"v2": 0.1, "v3": 0.9}
        status, said = await site.proxy.call("PUT", "/api/v1/routes/churn/split", changed)
        assert status == 200, said
        await expect(page.locator("#shares")).to_contain_text("v3: 90% of the customers", timeout=TIMEOUT)
        for dark, size in [(False, DESK), (True, DESK), (False, PHONE)]:
            async with opened(browser, site.url, dark=dark, size=size) as look:
                await look.get_by_role("button", name="One about to leave").click()
                await look.get_by_role("button", name="Ask", exact=True).click()
                await expect(look.locator("#why")).to_be_visible(timeout=TIMEOUT)
                assert await faults_of(look) == []
                assert await is_within_its_width(look)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"json": {**ROW, "support_tickets_90d": -1}}, 422, "greater than or equal to 0"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "Invalid JSON"),
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "must be application/json"),
    ],
)
async def test_bad_customers_are_refused(site: Site, body: dict[str, Any], status: int, said: str) -> None:
    found, answer, _ = await sent("POST", f"{site.url}/ask", **body)
    assert found == status
    assert said in answer["detail"][0]["msg"]


async def test_who_does_not_answer_is_named(site: Site) -> None:
    places = Places(site.proxy.url, f"http://127.0.0.1:{site.proxy.admin_port}")
    nowhere = "http://127.0.0.1:1"
    for wrong, said in [
        (Places(nowhere, places.admin), f"the proxy does not answer at {nowhere}/predict"),
        (Places(places.proxy, nowhere), f"the admin API does not answer at {nowhere}/api/v1/explain"),
    ]:
        async with fronted(wrong) as url:
            status, answer, _ = await sent("POST", f"{url}/ask", json=ROW)
            assert status == 502
            assert said in answer["detail"][0]["msg"]
    async with fronted(Places(places.proxy, places.admin, route="nosuch")) as url:
        status, answer, _ = await sent("GET", f"{url}/live")
        assert (status, "404" in answer["detail"][0]["msg"]) == (502, True)


async def test_a_shadow_that_cannot_be_asked_hides_nothing_else(site: Site) -> None:
    async with fronted(
        Places(site.proxy.url, f"http://127.0.0.1:{site.proxy.admin_port}", model_path="/nosuch")
    ) as url:
        status, found, _ = await sent("POST", f"{url}/ask", json=ROW)
    assert (status, found["status"]) == (200, 200)
    assert found["others"][0]["status"] == 404


async def test_the_command(site: Site) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crossfade_backends.front", "--port", "0", "--proxy", site.proxy.url + "/"),
        *("--admin", f"http://127.0.0.1:{site.proxy.admin_port}"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on http://127.0.0.1:")
        status, found, _ = await sent("POST", f"{line.split()[-1]}/ask", json=ROW)
        assert (status, found["answer"]["customer_id"]) == (200, "C1")
    finally:
        process.terminate()
        assert await process.wait() == 0
