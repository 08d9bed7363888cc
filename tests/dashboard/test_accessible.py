"""axe-core finds nothing, in light and dark and on a phone."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.dashboard.browser import DESK, PHONE, TIMEOUT, faults_of, opened
from tests.dashboard.sites import aborted_site, busy_site

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOOKS = [(False, DESK), (True, DESK), (False, PHONE)]


async def test_nothing_hinders_a_reader_of_a_route_that_goes_well(browser: Browser) -> None:
    async with busy_site() as site:
        for dark, size in LOOKS:
            async with opened(browser, site.url + "/", dark=dark, size=size) as page:
                await expect(page.get_by_role("link", name="churn")).to_be_visible(timeout=TIMEOUT)
                assert await faults_of(page) == []
                await page.goto(site.url + "/#/route/churn")
                await expect(page.get_by_text("error_rate <= 5%").first).to_be_visible(timeout=TIMEOUT)
                assert await faults_of(page) == []


async def test_nothing_hinders_a_reader_of_a_route_that_was_aborted(browser: Browser) -> None:
    async with aborted_site() as site:
        for dark, size in LOOKS:
            async with opened(browser, site.url + "/", dark=dark, size=size) as page:
                await expect(page.get_by_text("churn: v3 was aborted")).to_be_visible(timeout=TIMEOUT)
                assert await faults_of(page) == []
                await page.goto(site.url + "/#/route/churn")
                await page.get_by_text("Why").first.click()
                assert await faults_of(page) == []
