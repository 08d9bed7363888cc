"""An operator follows a canary in a browser from its start to its abort, and reads why."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.dashboard.browser import TIMEOUT, opened
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
STEPS = "[{weight: 20%, hold: 500ms}, {weight: 50%, hold: 1h}]"


async def test_a_canary_is_seen_from_its_start_to_its_abort(browser: Browser, tmp_path: Path) -> None:
    expect.set_options(timeout=TIMEOUT)
    fakes = {name: Model(name) for name in ("v2", "v3", "v4")}
    proxy = Proxy(tmp_path, routing(fakes, canary(STEPS)), workers=1)
    page_at = f"http://127.0.0.1:{proxy.admin_port}/"
    async with running(*fakes.values(), proxy), Load(proxy.url, clients=4), opened(browser, page_at) as page:
        row = page.get_by_role("row").filter(has_text="churn")
        await expect(row).to_contain_text("progressing")
        await expect(row.get_by_role("img", name="v2 50 %, v3 50 %")).to_be_visible()
        await row.get_by_role("link", name="churn").click()
        await expect(page.get_by_role("heading", name="churn")).to_be_visible()
        check = page.get_by_role("listitem").filter(has_text="error_rate <= 1%")
        await expect(check.first).to_contain_text("PASS")

        fakes["v3"].toggle_errors()
        await expect(page.get_by_text("v3 was taken back")).to_be_visible()
        log = page.get_by_role("region", name="Decisions")
        abort = log.get_by_role("listitem").filter(has_text="abort").first
        await expect(abort).to_contain_text("v3 50 % → 0 %")
        await abort.get_by_text("Why").click()
        await expect(abort).to_contain_text("FAIL fuse: 10 errors in a row")
        reason = str((await proxy.get("/api/v1/decisions?route=churn"))["decisions"][-1]["reason"])
        await expect(abort).to_contain_text(reason)

        await abort.get_by_role("link").click()  # the address of this decision
        await page.reload()
        await expect(page.locator("li.chosen")).to_contain_text(reason)
        await page.get_by_role("link", name="Crossfade").click()
        await expect(page.get_by_role("region", name="What needs attention")).to_contain_text(
            "churn: v3 was aborted"
        )
