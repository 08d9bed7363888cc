"""The summary for those who do not operate: what it says, and that it prints on one page."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from tests.dashboard.browser import DESK, PHONE, TIMEOUT, faults_of, is_within_its_width, opened
from tests.dashboard.sites import aborted_site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_summary_says_who_is_in_charge_and_what_was_taken_back(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with aborted_site() as site, opened(browser, site.url + "/") as page:
        await page.get_by_role("link", name="Summary").click()
        row = page.get_by_role("row").filter(has_text="churn")
        await expect(row).to_contain_text("v2")
        await expect(row).to_contain_text("aborted")
        await expect(page.get_by_text("Taken back").first).to_be_visible()
        shown = await page.locator(".tiles > div").filter(has_text="Taken back").locator("dd").inner_text()
        assert shown == "1"
        pages = re.findall(rb"/Type\s*/Page\b", await page.pdf(prefer_css_page_size=True))
        assert len(pages) == 1


async def test_the_summary_can_be_read_by_all(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with aborted_site() as site:
        for dark, size in ((False, DESK), (True, DESK), (False, PHONE)):
            async with opened(browser, site.url + "/#/summary", dark=dark, size=size) as page:
                await expect(page.get_by_role("row").filter(has_text="churn")).to_be_visible()
                assert await faults_of(page) == []
                assert await is_within_its_width(page)
