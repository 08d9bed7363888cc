"""A route of the real proxy to one server, and a tap between client and proxy that keeps each answer as it came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from crossfade.quality.answer import RawAnswer
from tests.scenarios.harness import Proxy, running, wait_until


class Tap:
    """`answers`: target and answer of each request, in order; one comes a moment after the client has it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.answers: asyncio.Queue[tuple[bytes, RawAnswer]] = asyncio.Queue()

    async def counted(self, n: int, name: str, **labels: str) -> None:
        """Waits until the proxy's metric has this value: its observer reads a moment after the client."""
        samples: list[Sample] = []

        async def is_there() -> bool:
            families = text_string_to_metric_families(await self.proxy.get("/metrics"))
            samples[:] = [each for family in families for each in family.samples if each.name == name]
            return n == sum(each.value for each in samples if labels.items() <= each.labels.items())

        await wait_until(is_there, lambda: f"{name} {labels} is {n}: {samples}")

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        begin = time.monotonic()
        fields = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "content-length")
        }
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.proxy.url + request.path_qs, data=await request.read(), headers=fields
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status)
            response.headers.update(
                {name: value for name, value in answer.headers.items() if name.lower() != "transfer-encoding"}
            )
            await response.prepare(request)
            body = b""
            pieces = []
            async for part in answer.content.iter_any():
                body += part
                pieces.append((len(body), time.monotonic() - begin))
                await response.write(part)
        head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        raw = RawAnswer(answer.status, head, body, time.monotonic() - begin, pieces=tuple(pieces))
        self.answers.put_nowait((request.path_qs.encode(), raw))
        await response.write_eof()
        return response


@asynccontextmanager
async def tapped(folder: Path, port: int) -> AsyncIterator[tuple[Tap, str]]:
    """The tap, and the URL for the client: client, tap, proxy, server."""
    config = (
        f"backends:\n  m:\n    endpoints: [http://127.0.0.1:{port}]\n"
        "routes:\n  - name: m\n    match: {prefix: /}\n    split: {m: 100%}\n    prediction: {protocol: auto}\n"
    )
    proxy = Proxy(folder, config, workers=1)
    async with running(proxy):
        tap = Tap(proxy)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", tap.pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield tap, f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
