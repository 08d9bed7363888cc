"""The dashboard loads its own files only, runs only its own scripts and never parses data as HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from crossfade.admin.dashboard_files import FOLDER
from tests.admin.site import Site, serving

VENDOR = FOLDER / "vendor"
OURS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".js", ".html", ".css", ".svg"))
LISTED = re.findall(
    r"^\| `(.+)` \| .+ \| `([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.MULTILINE
)
TOKEN = "a-long-enough-admin-token"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(TOKEN) as site:
        yield site


async def test_policy_admits_the_dashboards_own_files_and_its_import_map_only(site: Site) -> None:
    async with site.session.get(site.url + "/") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
        assert response.content_type == "text/html"
    ((_, inline),) = re.findall(r"<script([^>]*)>([^<]+)</script>", page)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "style-src 'self';" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


async def test_each_file_that_the_page_and_its_scripts_name_is_served_without_a_token(site: Site) -> None:
    named = set(re.findall(r"static/([\w./-]+)", (FOLDER / "index.html").read_text()))
    for path in OURS:
        named |= set(re.findall(r'from "\./([\w./-]+)"', path.read_text()))
    assert {"app.js", "style.css", "vendor/uPlot.mjs"} <= named
    types = {"js": "text/javascript", "mjs": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    for name in sorted(named):
        async with site.session.get(f"{site.url}/static/{name}") as response:
            assert response.status == 200, name
            assert response.content_type == types[name.rpartition(".")[2]]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert await response.read() == (FOLDER / name).read_bytes()


async def test_a_browser_keeps_a_file_until_its_content_changes(site: Site) -> None:
    async with site.session.get(site.url + "/static/app.js") as response:
        etag, kept = response.headers["ETag"], response.headers["Cache-Control"]
    assert kept == "no-cache"
    async with site.session.get(site.url + "/static/app.js", headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == etag
    async with site.session.get(site.url + "/static/app.js", headers={"If-None-Match": '"old"'}) as response:
        assert response.status == 200
    async with site.session.get(site.url + "/static/style.css") as response:
        assert response.headers["ETag"] != etag


@pytest.mark.parametrize(
    "path",
    ["no.js", "../api.py", "%2e%2e/api.py", "..%2fapi.py", "vendor", "/etc/passwd", "../../api/v1/status"],
)
async def test_only_the_dashboards_files_are_served(site: Site, path: str) -> None:
    async with site.session.get(URL(f"{site.url}/static/{path}", encoded=True)) as response:
        assert response.status == 404


async def test_the_data_needs_the_token(site: Site) -> None:
    async with site.session.get(site.url + "/api/v1/status") as response:
        assert response.status == 401


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_scripts_load_nothing_from_elsewhere_and_set_text_only(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"https?://[^\"'` ]+", text)) <= {"http://www.w3.org/2000/svg", "https?:"}
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
    assert not re.search(r"localStorage|sessionStorage|document\.cookie|indexedDB", text)
    assert len(text.splitlines()) <= 400


def test_libraries_are_as_their_packages_have_them_and_have_their_licences() -> None:
    files = {path.name for path in VENDOR.iterdir() if path.suffix in (".mjs", ".css")}
    assert files == {name for name, _ in LISTED}
    for name, digest in LISTED:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
        licence = VENDOR / f"{name.partition('.')[0].removesuffix('-hooks')}.LICENSE"
        assert "ermission" in licence.read_text()
