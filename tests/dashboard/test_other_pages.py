"""Pages of elsewhere in the browser of an operator who has logged in: they read nothing and change nothing.

Another port of the same host is the hardest case: it is of the same site, so the browser sends the cookie along.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page

from crossfade.admin.access import COOKIE, Access
from crossfade.admin.failures import Failure
from crossfade.config.admin import AdminConfig
from tests.admin.site import Site, serving
from tests.dashboard.browser import TIMEOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "alice-has-a-long-token"
PAUSE = "/api/v1/rollouts/churn/pause"
LOG_IN = """async token => {
    const headers = {"content-type": "application/json"}, body = JSON.stringify({token});
    return (await fetch("/api/v1/session", {method: "POST", headers, body})).status;
}"""
STATUS_OF = """async ([method, url]) => {
    try { return (await fetch(url, {method, credentials: "include"})).status } catch { return 0 }
}"""


@asynccontextmanager
async def page_of_elsewhere(target: str) -> AsyncIterator[str]:
    """With a form that posts to the target as soon as it is told to."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"<form method=post action='{target}'></form>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield str(server.make_url("/"))
    finally:
        await server.close()


async def logged_in(browser: Browser, site: Site) -> Page:
    context = await browser.new_context()
    context.set_default_timeout(TIMEOUT)
    page = await context.new_page()
    await page.goto(f"{site.url}/healthz")
    assert await page.evaluate(LOG_IN, TOKEN) == 200
    return page


async def test_another_port_of_the_same_host_neither_reads_nor_changes(browser: Browser) -> None:
    config = AdminConfig.model_validate({"tokens": [{"name": "alice", "role": "operator", "token": TOKEN}]})
    async with (
        serving(access=Access(lambda: config)) as site,
        page_of_elsewhere(site.url + PAUSE) as elsewhere,
    ):
        page = await logged_in(browser, site)
        assert await page.evaluate("document.cookie") == ""
        assert [cookie["name"] for cookie in await page.context.cookies()] == [COOKIE]
        assert await page.evaluate(STATUS_OF, ["GET", "/api/v1/status"]) == 200

        other = await page.context.new_page()
        await other.goto(elsewhere)
        assert await other.evaluate(STATUS_OF, ["GET", f"{site.url}/api/v1/status"]) == 0
        assert await other.evaluate(STATUS_OF, ["POST", site.url + PAUSE]) == 0
        async with other.expect_navigation() as posted:
            await other.evaluate("document.forms[0].submit()")
        response = await posted.value
        assert response.status == 403
        assert site.access.failures.counts[Failure.ORIGIN] > 0
        assert site.harness.controller.views.rollout("churn", site.harness.now).phase == "progressing"

        assert await page.evaluate(STATUS_OF, ["POST", PAUSE]) == 200
        assert await page.evaluate(STATUS_OF, ["DELETE", "/api/v1/session"]) == 204
        assert await page.evaluate(STATUS_OF, ["GET", "/api/v1/status"]) == 401
        await page.context.close()
