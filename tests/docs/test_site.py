"""The site of docs/: it builds, each link and anchor in it has a target, each page is in the navigation, and a browser fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_each_page_and_each_linked_file_is_there(site: Path):
    pages = {str(page.relative_to(ROOT / "docs").with_suffix(".html")) for page in ROOT.glob("docs/**/*.md")}
    assert {page.replace("README.html", "index.html") for page in pages} <= {
        str(page.relative_to(site)) for page in site.rglob("*.html")
    }
    assert (site / "repository/proxy/index.html").exists()


def test_a_browser_fetches_nothing_from_elsewhere(site: Path):
    fetched = list[str]()
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source|video)\b[^>]*>", page.read_text("utf-8"))
        fetched += [tag for tag in tags if re.search(r"(?:src|href)=\"?(?:https?:)?//", tag)]
    assert fetched == []
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(\"?(?:https?:)?//[^)]*\)", style.read_text("utf-8")) == []


def test_every_page_has_one_title():
    for page in sorted(ROOT.glob("docs/**/*.md")):
        outside = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1, page
