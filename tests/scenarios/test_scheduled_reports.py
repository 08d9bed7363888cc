"""Reports that the proxy writes by itself: whole, one after the other, only the newest stay, and a restart writes none twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.scenarios.harness import Proxy, running, wait_until

LONG_ENOUGH = 1.5  # seconds, in which a proxy that owes a report has written it


def _config(folder: Path, every: str) -> str:
    return (
        "backends: {v2: {endpoints: [http://127.0.0.1:9]}}\nroutes:\n  - name: churn\n    split: {v2: 100%}\n"
        f"    report: {{every: {every}, dir: {folder}, keep: 2}}\n"
    )


def _reports(folder: Path) -> list[Path]:
    return sorted(folder.glob("churn-*.html"))


async def test_reports_are_written_from_time_to_time_and_the_newest_stay(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "reports"
    proxy = Proxy(tmp_path, _config(folder, "1s"))
    async with running(proxy):
        first = (await wait_until(lambda: _reports(folder), "the first report"))[0]
        text = first.read_text()
        assert text.startswith("<!doctype html>")
        assert text.endswith("</html>\n")
        await wait_until(lambda: first not in _reports(folder), "the first report is deleted")
        assert len(_reports(folder)) <= 2


async def test_a_restart_writes_no_second_report_in_the_same_period(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    proxy = Proxy(tmp_path, _config(folder, "1s"))
    async with running(proxy):
        await wait_until(lambda: _reports(folder), "the first report")
    before = _reports(folder)
    again = Proxy(tmp_path, _config(folder, "365d"))
    async with running(again):
        await asyncio.sleep(2 * LONG_ENOUGH)
        assert _reports(folder) == before


async def test_a_folder_that_cannot_be_written_is_said_and_the_proxy_serves_on(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    proxy = Proxy(tmp_path, _config(blocked, "1s"))
    async with running(proxy):
        await wait_until(
            lambda: "the report of churn cannot be written" in proxy.output, "the fault in the log"
        )
        assert await proxy.is_ready()
