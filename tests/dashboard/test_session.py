"""Login and logout in a browser, and what a viewer sees."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from crossfade.admin.access import Access
from crossfade.config.admin import AdminConfig
from tests.admin.site import serving
from tests.dashboard.browser import TIMEOUT, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALICE, VERA, FEED = "a" * 20, "v" * 20, "f" * 20
TOKENS = [
    {"name": "alice", "role": "operator", "token": ALICE},
    {"name": "vera", "role": "viewer", "token": VERA},
    {"name": "feed", "role": "feedback", "token": FEED},
]
ROUTE = "#/route/churn"


def is_about_a_login(text: str) -> bool:
    """The browser itself writes that the API asked for a login."""
    return text.startswith("Failed to load resource") and "401" in text


async def log_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()


async def test_a_login_shows_the_page_and_a_logout_ends_it(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    config = AdminConfig.model_validate({"tokens": TOKENS})
    async with (
        serving(access=Access(lambda: config)) as site,
        opened(browser, site.url + "/", excused=is_about_a_login) as page,
    ):
        await log_in(page, "wrong" * 5)
        await expect(page.get_by_role("alert")).to_have_text("No token of this proxy is this one.")
        assert await page.get_by_text("churn").count() == 0
        await log_in(page, ALICE)
        await expect(page.get_by_role("link", name="churn")).to_be_visible()
        await expect(page.get_by_role("banner")).to_contain_text("alice operator")
        assert ALICE not in page.url
        assert await page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == [
            "",
            0,
            0,
        ]
        await page.reload()  # the session goes on
        await expect(page.get_by_role("link", name="churn")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert await page.get_by_text("churn").count() == 0
        await page.reload()
        await expect(page.get_by_label("Token")).to_be_visible()


async def test_a_viewer_sees_everything_and_has_no_button_to_act(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    config = AdminConfig.model_validate({"tokens": TOKENS})
    async with (
        serving(access=Access(lambda: config)) as site,
        opened(browser, site.url + "/" + ROUTE, excused=is_about_a_login) as page,
    ):
        await log_in(page, VERA)
        await expect(page.get_by_text("error_rate <= 5%").first).to_be_visible()
        for word in ("Pause", "Promote", "Abort", "Set split"):
            assert await page.get_by_role("button", name=word).count() == 0
        await page.get_by_role("button", name="Log out").click()
        await log_in(page, ALICE)
        for word in ("Pause", "Promote", "Abort", "Set split"):
            await expect(page.get_by_role("button", name=word)).to_be_visible()


async def test_a_session_whose_token_is_taken_away_ends_and_says_so(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    configs = [AdminConfig.model_validate({"tokens": TOKENS})]
    async with (
        serving(access=Access(lambda: configs[-1])) as site,
        opened(browser, site.url + "/", excused=is_about_a_login) as page,
    ):
        await log_in(page, VERA)
        await expect(page.get_by_role("link", name="churn")).to_be_visible()
        configs.append(AdminConfig.model_validate({"tokens": TOKENS[:1]}))
        await expect(page.get_by_text("The session has ended.")).to_be_visible()
        assert await page.get_by_role("link", name="churn").count() == 0


async def test_a_token_for_feedback_shows_nothing(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    config = AdminConfig.model_validate({"tokens": TOKENS})
    async with (
        serving(access=Access(lambda: config)) as site,
        opened(browser, site.url + "/", excused=is_about_a_login) as page,
    ):
        await log_in(page, FEED)
        await expect(page.get_by_role("heading", name="Nothing to see")).to_be_visible()
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
