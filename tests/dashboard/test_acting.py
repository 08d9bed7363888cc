"""An operator acts: each command says what it will do, takes a reason, and can be refused."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.dashboard.browser import TIMEOUT, faults_of, opened
from tests.dashboard.sites import busy_site

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROUTE = "/#/route/churn"


def is_refusal(text: str) -> bool:
    return text.startswith("Failed to load resource") and ("409" in text or "412" in text)


async def test_an_abort_says_who_moves_takes_a_reason_and_is_done_from_the_keyboard(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site, opened(browser, site.url + ROUTE) as page:
        await page.get_by_role("button", name="Abort").focus()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Abort: v3 on churn?")
        await expect(dialog).to_contain_text("v3 → v2: 5\u202f000 buckets of 10 000 (50 %)")
        assert await faults_of(page) == []
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        assert (await site.harness.actions())[-1] != "abort"

        await page.keyboard.press("Enter")  # the focus is on the button again
        await expect(dialog.get_by_label("Reason")).to_be_focused()
        await expect(dialog).to_contain_text("buckets")
        await page.keyboard.type("it forgets customers of 2019")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("v3 was taken back")).to_be_visible()
        decision = (await site.harness.decisions("churn"))[-1]
        assert (decision.action, decision.actor) == ("abort", "api")
        assert "it forgets customers of 2019" in decision.reason
        await expect(page.get_by_role("region", name="Decisions")).to_contain_text(decision.reason)
        await expect(page.get_by_role("button", name="Retry")).to_be_visible()
        assert site.harness.weights == {"v2": 10_000}


async def test_a_split_is_set_with_a_preview_of_what_is_typed(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site, opened(browser, site.url + ROUTE, excused=is_refusal) as page:
        await page.get_by_role("button", name="Set split").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("a rollout is progressing on churn")
        await expect(dialog.get_by_role("button", name="Set split")).to_be_disabled()
        await dialog.get_by_role("button", name="Cancel").click()
        await site.ask("POST", "/api/v1/rollouts/churn/abort")
        await expect(page.get_by_text("v3 was taken back")).to_be_visible()
        await page.get_by_role("button", name="Set split").click()
        await dialog.get_by_label("v3").fill("25")
        await dialog.get_by_label("v2").fill("75")
        await expect(dialog).to_contain_text("v2 → v3: 2\u202f500 buckets of 10 000 (25 %)")
        await dialog.get_by_role("button", name="Set split").click()
        await expect(dialog).to_be_hidden()
        await expect(page.get_by_role("img", name="v2 75 %, v3 25 %").first).to_be_visible()
        assert site.harness.weights == {"v2": 7500, "v3": 2500}


async def test_a_command_that_came_too_late_is_explained(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site, opened(browser, site.url + ROUTE, excused=is_refusal) as page:
        await page.get_by_role("button", name="Pause").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Nobody moves.")
        await site.ask("POST", "/api/v1/rollouts/churn/abort")  # by somebody else
        await dialog.get_by_role("button", name="Pause").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("It has changed since you looked.")
        assert (await site.harness.actions())[-1] == "abort"
        await dialog.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_text("v3 was taken back")).to_be_visible()
