"""The overview of 200 routes: found by search, in order, and opened from the keyboard."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.control.harness import CANARY
from tests.dashboard.browser import PHONE, TIMEOUT, is_within_its_width, opened
from tests.dashboard.sites import ROUTES, busy_site, many_routes

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_one_of_200_routes_is_found_and_opened(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site(many_routes()) as site, opened(browser, site.url + "/") as page:
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(ROUTES)
        await expect(rows.first).to_contain_text("progressing")  # those with a rollout come first
        await expect(rows.last).to_contain_text("no rollout")
        await page.get_by_role("button", name="Requests/s").click()
        await expect(rows.first).to_contain_text("churn")
        await page.get_by_role("button", name="Route", exact=True).click()
        await expect(rows.nth(1)).to_contain_text("model-001")
        await page.get_by_role("button", name="Route", exact=True).click()
        await expect(rows.first).to_contain_text("model-199")
        header = page.get_by_role("columnheader", name="Route")
        assert await header.get_attribute("aria-sort") == "descending"

        await page.get_by_label("Search").fill("v4 model-14")
        await expect(page.get_by_text("8 of 200 routes")).to_be_visible()
        await expect(rows).to_have_count(8)  # 140 to 149 without 140 and 145, which have no v4
        await page.get_by_label("Search").fill("progressing 005")
        await expect(rows).to_have_count(1)
        await page.get_by_label("Search").press("Tab")
        for _ in range(20):  # over the headings
            if await page.evaluate("document.activeElement.textContent") == "model-005":
                break
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="model-005")).to_be_visible()
        assert page.url.endswith("#/route/model-005")
        await page.go_back()
        await expect(rows).to_have_count(ROUTES)


async def test_an_unknown_route_is_said_to_be_unknown(browser: Browser) -> None:
    async with (
        busy_site() as site,
        opened(browser, site.url + "/#/route/nobody", excused=lambda text: "404" in text) as page,
    ):
        await expect(page.get_by_text("no route is called nobody")).to_be_visible(timeout=TIMEOUT)


async def test_a_phone_shows_all_without_scrolling_sideways(browser: Browser) -> None:
    async with busy_site(many_routes()) as site, opened(browser, site.url + "/", size=PHONE) as page:
        await expect(page.locator("tbody tr")).to_have_count(ROUTES, timeout=TIMEOUT)
        assert await is_within_its_width(page)
        await page.get_by_role("link", name="churn").click()
        await expect(page.get_by_text("error_rate <= 5%").first).to_be_visible(timeout=TIMEOUT)
        assert await is_within_its_width(page)


async def test_a_p99_above_the_class_of_its_route_is_marked_and_the_target_is_said(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    routes = CANARY.replace("    fallback: v2\n", "    fallback: v2\n    slo: interactive\n")
    async with busy_site(routes) as site, opened(browser, site.url + "/") as page:
        site.harness.latency = {"v2": 0.3, "v3": 0.3}
        await site.harness.run(20)
        await expect(page.get_by_title("the target is 50 ms")).to_have_class("wait")
        await page.get_by_role("link", name="churn", exact=True).click()
        await expect(page.get_by_text("interactive: p99 within 50 ms")).to_be_visible()
        over_time = page.get_by_role("region", name="Over time")
        await expect(over_time.get_by_text("target 50 ms")).to_have_count(1)  # of the latency alone
        await over_time.get_by_role("button", name="5 min", exact=True).click()
        await expect(over_time.get_by_role("button", name="5 min", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
