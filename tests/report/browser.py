"""A headless Chromium over its DevTools protocol: what a page draws, and what its console says."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
_PATIENCE = 90.0  # seconds until it listens, on a busy machine


class Browser:
    """`console`: what was logged, and exceptions."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.sent = 0
        self.console: list[str] = []
        self.events: list[str] = []

    async def call(self, method: str, **given: Any) -> Any:
        self.sent += 1
        await self.socket.send_json({"id": self.sent, "method": method, "params": given})
        while True:
            found = await self.socket.receive_json()
            if found.get("id") == self.sent:
                assert "error" not in found, found
                return found["result"]
            self._note(found)

    def _note(self, event: dict[str, Any]) -> None:
        self.events.append(event["method"])
        if event["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.console.append(str(event["params"]))

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        self.events.clear()
        await self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.events:
            self._note(await self.socket.receive_json())

    async def prefer(self, scheme: str, media: str = "") -> None:
        await self.call(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    async def value(self, script: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    async def picture(self) -> bytes:
        """A PNG of the whole page."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            "chromium",
            *_OPTIONS,
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            "--window-size=1200,1000",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                port = await _port_of(Path(profile) / "DevToolsActivePort")
            async with ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    targets = await answer.json(content_type=None)
                url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    yield Browser(socket)
        finally:
            process.kill()
            await process.wait()


async def _port_of(file: Path) -> int:
    while True:
        lines = await asyncio.to_thread(_lines_of, file)
        if len(lines) > 1:
            return int(lines[0])
        await asyncio.sleep(0.05)


def _lines_of(file: Path) -> list[str]:
    return file.read_text().split("\n") if file.exists() else []
