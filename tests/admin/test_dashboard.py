"""The dashboard is one page that loads nothing, runs only its own script and never parses data as HTML."""

from __future__ import annotations

import base64
import hashlib
import re

from tests.admin.site import Site


async def test_policy_admits_the_pages_own_script_and_style_only(site: Site) -> None:
    async with site.session.get(site.url + "/") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
        assert response.content_type == "text/html"
    for tag in ("script", "style"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


async def test_page_is_self_contained_and_sets_text_only(site: Site) -> None:
    async with site.session.get(site.url + "/") as response:
        page = await response.text()
    assert re.findall(r"https?://[^\"' ]+", page) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<link|<img|\ssrc=|\shref=|@import|url\(|\sstyle=|\son\w+=", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
