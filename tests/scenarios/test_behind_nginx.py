"""Behind nginx as a load balancer: its forwarding headers are trusted, those of its clients are not."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from loadtests.ports import free_port
from tests.scenarios.harness import Proxy, running, wait_until

# nginx passes the `Forwarded` header of the client on without a change.
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"""
CLIENT = "127.0.0.2"  # differs from the address of nginx
FORGED = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=http", "X-Forwarded-Proto": "gopher"}


async def echo_headers(request: web.Request) -> web.Response:
    """Answers with the headers that the model received."""
    return web.json_response({name.lower(): value for name, value in request.headers.items()})


@asynccontextmanager
async def model() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/", echo_headers)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def nginx(folder: Path, upstream: int) -> AsyncIterator[int]:
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    process = await asyncio.create_subprocess_exec("nginx", "-c", str(file), "-p", str(folder))

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await wait_until(listens, "nginx listens")
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("trusted", [True, False])
async def test_headers_of_nginx_are_used_only_if_nginx_is_a_trusted_proxy(
    tmp_path: Path, trusted: bool
) -> None:
    ranges = "trusted_proxies: [127.0.0.1]\n" if trusted else ""
    async with model() as port:
        backends = f"backends: {{m: {{endpoints: ['http://127.0.0.1:{port}']}}}}\n"
        proxy = Proxy(tmp_path, ranges + backends + "routes: [{name: all, split: {m: 100%}}]\n", workers=1)
        connector = aiohttp.TCPConnector(local_addr=(CLIENT, 0))
        async with (
            running(proxy),
            nginx(tmp_path, proxy.port) as nginx_port,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            url = f"http://127.0.0.1:{nginx_port}/"
            async with session.get(url, headers={"Host": "shop.test", **FORGED}) as response:
                received = await response.json()
    inner = f'for=127.0.0.1;proto=http;host="127.0.0.1:{proxy.port}"'
    assert {name: received[name] for name in received if "forwarded" in name} == (
        {
            "x-forwarded-for": f"{CLIENT}, 127.0.0.1",
            "x-forwarded-proto": "https",
            "x-forwarded-host": "shop.test",
            "forwarded": f'for={CLIENT};proto=https;host="shop.test", {inner}',
        }
        if trusted
        else {
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
            "x-forwarded-host": f"127.0.0.1:{proxy.port}",
            "forwarded": inner,
        }
    )
