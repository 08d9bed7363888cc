"""The page follows the proxy: a decision shows at once, and an admin API that does not answer is said not to."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.dashboard.browser import TIMEOUT, opened
from tests.dashboard.sites import busy_site

pytestmark = pytest.mark.asyncio(loop_scope="module")


def is_of_a_lost_connection(text: str) -> bool:
    return "ERR_" in text


NEVER_AGAIN = """
const later = window.setTimeout;
window.setTimeout = (run, pause, ...rest) => later(run, pause >= 1000 ? 1e9 : pause, ...rest);
"""


async def test_a_decision_shows_by_its_event_where_the_page_does_not_poll(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site, opened(browser, site.url + "/#/route/churn") as page:
        await page.add_init_script(NEVER_AGAIN)  # each poll would be the last
        async with page.expect_response(lambda answer: answer.url.endswith("/events")):
            await page.reload()
        await expect(page.get_by_text("error_rate <= 5%").first).to_be_visible()
        await site.ask("POST", "/api/v1/rollouts/churn/abort")
        await expect(page.get_by_text("v3 was taken back")).to_be_visible()


async def test_a_lost_connection_is_said_and_ends(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with (
        busy_site() as site,
        opened(browser, site.url + "/#/route/churn", excused=is_of_a_lost_connection) as page,
    ):
        await expect(page.get_by_text("error_rate <= 5%").first).to_be_visible()
        await page.context.set_offline(True)
        lost = page.get_by_role("alert")
        await expect(lost).to_contain_text("No connection to the admin API.")
        await expect(page.get_by_text("error_rate <= 5%").first).to_be_visible()  # what was known stays
        await page.context.set_offline(False)
        await expect(lost).to_be_hidden()
        await expect(page.get_by_role("banner")).to_contain_text("live")
