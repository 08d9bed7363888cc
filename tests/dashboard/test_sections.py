"""What a route's page shows of comparison, feedback and drift, from samples of the real types."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.dashboard.browser import DESK, PHONE, TIMEOUT, faults_of, is_within_its_width, opened
from tests.dashboard.sites import busy_site
from tests.report.samples import drift, labelled, shadow

pytestmark = pytest.mark.asyncio(loop_scope="module")
DRIFT = {
    **msgspec.to_builtins(drift()),
    "route": "churn",
    "state": "watching",
    "windows": 12,
    "rows_now": 7,
    "loss": None,
}


async def give(page: Page, path: str, value: object) -> None:
    async def answer(route: Route) -> None:
        await route.fulfill(body=msgspec.json.encode(value), content_type="application/json")

    await page.route(f"**/api/v1/{path}", answer)


async def with_everything(page: Page) -> None:
    """The route has pairs, labels and drift, as the samples of reports."""

    async def more(route: Route) -> None:
        answer = await route.fetch()
        found = await answer.json()
        await route.fulfill(
            json={**found, "compared": ["v4"], "labelled": ["label", "fraud"], "has_drift": True}
        )

    await page.route("**/api/v1/routes/churn", more)
    await give(page, "comparisons/churn*", shadow().comparison)
    await give(page, "labels/churn*", labelled().labels)
    await give(page, "drift/churn", DRIFT)


async def test_comparison_feedback_and_drift_are_shown_and_can_be_read_by_all(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site:
        for dark, size in ((False, DESK), (True, DESK), (False, PHONE)):
            async with opened(browser, site.url + "/", dark=dark, size=size) as page:
                await with_everything(page)
                await page.goto(site.url + "/#/route/churn")
                await expect_all(page)
                assert await faults_of(page) == []
                assert await is_within_its_width(page)


async def expect_all(page: Page) -> None:
    compared = page.get_by_role("region", name="Comparison of v4 with v2")
    await expect(compared.get_by_role("row").filter(has_text="flagged").first).to_contain_text("plan")
    await compared.get_by_text("pairs that differ most").click()
    await expect(compared.get_by_role("columnheader", name="Distance")).to_be_visible()
    await expect(compared.get_by_role("img", name="Scores of v2 and v4")).to_be_visible()
    feedback = page.get_by_role("region", name="Feedback", exact=True)
    await expect(feedback.get_by_role("row").filter(has_text="revenue")).to_be_visible()
    await expect(feedback.get_by_role("row").filter(has_text="AUC")).to_be_visible()
    await expect(feedback.get_by_role("img", name="Calibration: v2")).to_be_visible()
    fraud = feedback.get_by_role("button", name="fraud")
    await fraud.click()
    await expect(fraud).to_have_attribute("aria-pressed", "true")
    watched = page.get_by_role("region", name="Drift", exact=True)
    await expect(watched.get_by_role("row").filter(has_text="amount")).to_contain_text("31 %")
    await expect(watched.get_by_role("list")).to_contain_text("31% of the values")


async def test_the_picture_of_a_check_says_its_numbers(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site, opened(browser, site.url + "/#/route/churn") as page:
        check = page.get_by_role("listitem").filter(has_text="error_rate <= 5%").first
        estimate = check.get_by_role("img").first
        await expect(estimate).to_have_attribute(
            "aria-label", re.compile("^0 %, between 0 % and 0.[0-9]+ %; the limit is at most 5 %$")
        )
        await expect(check.get_by_role("img", name="evidence of harm: 0 % of what proves it")).to_be_visible()


def is_of_days(url: str) -> bool:
    """Whether it asks for the history of more than the usual hour."""
    asked = parse_qs(urlsplit(url).query)
    return "/history/churn" in url and time.time() - float(asked["since"][0]) > 86_400


async def test_the_time_that_is_plotted_can_be_chosen(browser: Browser) -> None:
    expect.set_options(timeout=TIMEOUT)
    async with busy_site() as site, opened(browser, site.url + "/#/route/churn") as page:
        async with page.expect_response(lambda answer: is_of_days(answer.url)) as answered:
            await page.get_by_role("button", name="7 d").click()
        await expect(page.get_by_role("button", name="7 d")).to_have_attribute("aria-pressed", "true")
        found = await (await answered.value).json()
        assert abs(7 * 86_400 - (found["until"] - found["since"])) <= 600  # asked for, and answered later
