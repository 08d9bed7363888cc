"""Debian's Chromium, and a page that remembers what went wrong in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
TIMEOUT = 60_000.0  # milliseconds; long, because the machine may be slow
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser,
    url: str,
    *,
    dark: bool = False,
    size: dict[str, int] = DESK,
    excused: Callable[[str], bool] = lambda text: False,
) -> AsyncIterator[Page]:
    """The page at this URL. Fails at the end if anything was written to the console that is not `excused`, or came from elsewhere."""
    options: Any = {"viewport": size, "color_scheme": "dark" if dark else "light", "reduced_motion": "reduce"}
    context = await browser.new_context(**options)
    context.set_default_timeout(TIMEOUT)
    page = await context.new_page()
    troubles: list[str] = []
    asked: set[str] = set()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not excused(message.text):
            troubles.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: asked.add("/".join(request.url.split("/")[:3])))
    try:
        await page.goto(url)
        yield page
    finally:
        await page.unroute_all(behavior="ignoreErrors")  # answers of a test that are still on their way
        await context.close()
    assert troubles == []
    assert asked == {"/".join(url.split("/")[:3])}


async def faults_of(page: Page) -> list[str]:
    """What axe-core finds: each rule of WCAG 2.2 A and AA and of good practice that is broken, and where."""
    results = await Axe().run(page)
    return [
        f"{found['id']}: {node['target']} {node.get('failureSummary', '')}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ]


async def is_within_its_width(page: Page) -> bool:
    """Nothing is wider than the screen: one scrolls up and down only."""
    return bool(
        await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    )
