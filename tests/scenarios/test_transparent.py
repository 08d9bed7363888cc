"""The output of curl is the same through the proxy and at the backend, except for the headers of the proxy."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from aiohttp import web

from tests.scenarios.harness import Proxy, running

PROXY_HEADERS = (b"x-request-id: ", b"x-crossfade-backend: ")
DATE = "Sat, 21 Nov 2026 00:00:00 GMT"
BODY = bytes(range(256)) * 400


async def unusual(request: web.Request) -> web.StreamResponse:
    """An answer with parts that proxies often change: repeated fields, header case, binary body, reason phrase."""
    body = await request.read()
    answer = web.Response(status=203, reason="As It Is", body=body + BODY)
    answer.headers["X-ODD-case"] = "spaced   inside"
    answer.headers.add("Set-Cookie", "a=1")
    answer.headers.add("Set-Cookie", "b=2; Path=/")
    answer.headers["Date"] = DATE
    return answer


async def chunked(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.headers["Date"] = DATE
    await answer.prepare(request)
    for part in (b"one", b"two" * 1000, BODY):
        await answer.write(part)
    return answer


async def curl(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-i", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, arguments
    return output


def without_proxy_headers(answer: bytes) -> bytes:
    head, body = answer.split(b"\r\n\r\n", 1)
    return (
        b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(PROXY_HEADERS))
        + b"\r\n\r\n"
        + body
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_gets_the_same_bytes_through_the_proxy(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(BODY * 10)
    app = web.Application()
    app.router.add_route("*", "/odd{tail:.*}", unusual)
    app.router.add_route("*", "/chunked", chunked)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = f"backends: {{m: {{endpoints: ['{backend}']}}}}\nroutes: [{{name: all, match: {{prefix: /}}, split: {{m: 100%}}}}]\n"
    proxy = Proxy(tmp_path, config)
    try:
        async with running(proxy):
            for arguments in (
                ("/odd",),
                ("/odd/a%2Fb%20c;d?x=%41&y=a+b&&z",),
                ("/odd", "-d", "a=b&c=d"),
                ("/odd", "--data-binary", f"@{tmp_path}/upload", "-H", "Expect:"),
                ("/odd", "-X", "PURGE"),
                ("/odd", "-I"),
                ("/odd/nothing", "-X", "DELETE"),
                ("/chunked",),
            ):
                direct = await curl(backend + arguments[0], *arguments[1:])
                through = await curl(proxy.url + arguments[0], *arguments[1:])
                assert without_proxy_headers(through) == direct, arguments
                assert through.count(b"x-crossfade-backend: m\r\n") == 1
    finally:
        await runner.cleanup()
