"""Behind a load balancer that others wrote: its word about its clients is taken, and theirs is not."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.scenarios.stagehands import Proxy, free_port, running, wait_until

# `Forwarded` passes as the client sent it: nginx knows nothing of it.
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
CLIENT = "127.0.0.2"  # it is not the load balancer's
FORGED = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=http", "X-Forwarded-Proto": "gopher"}


async def told(request: web.Request) -> web.Response:
    """What a model is told of the client."""
    return web.json_response({name.lower(): value for name, value in request.headers.items()})


@asynccontextmanager
async def model() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/", told)
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

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await wait_until(answers, "nginx listens")
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="NO NGINX HERE: its chain of addresses is not read")
@pytest.mark.parametrize("trusted", [True, False])
async def test_the_client_is_found_behind_nginx(tmp_path: Path, trusted: bool) -> None:
    ranges = "trusted_proxies: [127.0.0.1]\n" if trusted else ""
    async with model() as port:
        backends = f"backends: {{m: {{endpoints: ['http://127.0.0.1:{port}']}}}}\n"
        proxy = Proxy(tmp_path, ranges + backends + "routes: [{name: all, split: {m: 100%}}]\n", workers=1)
        connector = aiohttp.TCPConnector(local_addr=(CLIENT, 0))
        async with (
            running(proxy),
            nginx(tmp_path, proxy.port) as door,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            url = f"http://127.0.0.1:{door}/"
            async with session.get(url, headers={"Host": "shop.test", **FORGED}) as response:
                seen = await response.json()
    inner = f'for=127.0.0.1;proto=http;host="127.0.0.1:{proxy.port}"'
    assert {name: seen[name] for name in seen if "forwarded" in name} == (
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
