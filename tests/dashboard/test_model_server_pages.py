"""The model server's own pages, in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from crossfade_backends.train import DEFAULT_SEED, train_registry
from tests.backends.serving import serving
from tests.dashboard.browser import DESK, PHONE, TIMEOUT, faults_of, is_within_its_width, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOOKS = [(False, DESK), (True, DESK), (False, PHONE)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("registry")
    train_registry(root, 6_000, DEFAULT_SEED)
    return root


async def test_an_operation_is_tried_on_the_page_of_the_api(browser: Browser, registry: Path) -> None:
    async with serving(registry) as client, opened(browser, str(client._build_url("/docs"))) as page:
        block = page.locator("#predict")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Model server: churn v3")
        await block.get_by_role("button", name="Send").click()
        await expect(block.get_by_role("status")).to_have_text("200 OK", timeout=TIMEOUT)
        await expect(block.get_by_role("region")).to_contain_text('"model_version": "v3"')
        await page.locator("#model_ready summary").click()
        await page.locator("#model_ready").get_by_role("button", name="Send").click()
        await expect(page.locator("#model_ready").get_by_role("region")).to_contain_text('"ready": true')


async def test_the_page_of_the_api_shows_refusals(browser: Browser, registry: Path) -> None:
    def is_of_the_422(text: str) -> bool:
        return "422" in text

    async with serving(registry) as client:
        url = str(client._build_url("/docs"))
        async with opened(browser, url, excused=is_of_the_422) as page:
            block = page.locator("#predict")
            await block.get_by_label("Body").fill("{}")
            await block.get_by_role("button", name="Send").click()
            await expect(block.get_by_role("status")).to_contain_text("422", timeout=TIMEOUT)
            await expect(block.get_by_role("region")).to_contain_text("Field required")


async def test_nothing_hinders_a_reader_of_the_api(browser: Browser, registry: Path) -> None:
    async with serving(registry) as client:
        for dark, size in LOOKS:
            async with opened(browser, str(client._build_url("/docs")), dark=dark, size=size) as page:
                await page.locator("#predict").get_by_role("button", name="Send").click()
                await expect(page.locator("#predict").get_by_role("status")).to_have_text("200 OK")
                await page.locator("#infer summary").click()
                assert await faults_of(page) == []
                assert await is_within_its_width(page)
