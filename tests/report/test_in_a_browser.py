"""The report in Chromium: each plot is drawn inside of its frame, its colours are those of light or dark, the console is silent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crossfade.report.page import page
from tests.report import samples
from tests.report.browser import browser

PLOTS = {
    "over-time",
    "segments",
    "score-histograms",
    "score-pairs",
    "score-quantiles",
    "latency",
    "evidence",
    "evidence-path",
    "calibration",
    "label-delay",
    "drift",
}
DRAWN = """(() => {
  const bright = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3;
  const out = {};
  for (const svg of document.querySelectorAll("svg[role=img]")) {
    const frame = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll("polyline,polygon,circle,rect,line,text")];
    const boxes = marks.map((mark) => mark.getBoundingClientRect());
    out[svg.id] = {
      width: frame.width, height: frame.height, marks: marks.length,
      outside: boxes.filter((b) => b.left < frame.left - 2 || b.right > frame.right + 2 || b.top < frame.top - 2 || b.bottom > frame.bottom + 2).length,
      unseen: marks.filter((mark) => { const s = getComputedStyle(mark); return s.fill === "none" && s.stroke === "none"; }).length,
    };
  }
  return JSON.stringify({
    plots: out, ground: bright(getComputedStyle(document.body).backgroundColor), ink: bright(getComputedStyle(document.body).color),
    verdict: document.querySelector("#verdict h2").textContent,
    wider: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  });
})()"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(page(samples.everything(), str), "utf-8")
    return path


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
async def test_each_plot_is_drawn_in_light_and_dark_and_on_paper(file: Path) -> None:
    found: dict[str, Any] = {}
    async with browser() as seen:
        for look, media in (("light", ""), ("dark", ""), ("dark", "print")):
            await seen.prefer(look, media)
            await seen.open(file.as_uri())
            found[media or look] = json.loads(await seen.value(DRAWN))
        assert (await seen.picture()).startswith(b"\x89PNG")
    assert seen.console == []
    for look in found.values():
        assert set(look["plots"]) == PLOTS
        assert not look["wider"]
        assert "plan = pro" in look["verdict"]
        for plot in look["plots"].values():
            assert plot["width"] > 300
            assert plot["height"] > 100
            assert plot["marks"] > 10
            assert plot["outside"] == 0
            assert plot["unseen"] == 0
    assert found["light"]["ground"] > 200 > 60 > found["light"]["ink"]
    assert found["dark"]["ground"] < 60 < 200 < found["dark"]["ink"]
    assert found["print"]["ground"] > 250 > 60 > found["print"]["ink"]
