"""The admin API behind nginx with TLS, as docs/security.md has it: a browser logs in, and other pages are still kept out."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, CookieJar, TCPConnector

from loadtests.ports import free_port
from tests.admin.site import serving
from tests.certificates import Authority

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    {location}
  }}
}}
"""
SESSION, PAUSE = "/api/v1/session", "/api/v1/rollouts/churn/pause"
TOKEN = "0123456789abcdef"


@asynccontextmanager
async def nginx(folder: Path, cert: str, key: str, upstream: int) -> AsyncIterator[str]:
    (block,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    location = block.replace("127.0.0.1:9901", f"127.0.0.1:{upstream}")
    port, file = free_port(), folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, port=port, cert=cert, key=key, location=location))
    process = await asyncio.create_subprocess_exec("nginx", "-c", str(file), "-p", str(folder))
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_a_browser_logs_in_through_nginx(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)
    async with (
        serving(TOKEN) as site,
        nginx(tmp_path, *authority.files("localhost"), site.port) as url,
        ClientSession(connector=TCPConnector(ssl=trusting), cookie_jar=CookieJar()) as browser,
    ):

        async def ask(method: str, path: str, origin: str, **options: object) -> int:
            async with browser.request(method, url + path, headers={"Origin": origin}, **options) as response:  # type: ignore[arg-type]
                cookies = response.headers.getall("Set-Cookie", [])
                assert all("; Secure" in cookie for cookie in cookies)
                return response.status

        assert await ask("POST", SESSION, "https://evil.example", json={"token": TOKEN}) == 403
        assert await ask("POST", SESSION, url, json={"token": TOKEN}) == 200
        assert await ask("POST", PAUSE, "https://evil.example") == 403
        assert await ask("POST", PAUSE, url) == 200
        assert await ask("DELETE", SESSION, url) == 204
        assert await ask("POST", PAUSE, url) == 401
