"""A receiver of messages and gates: a webhook that keeps what it was told, and answers as a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

TIMEOUT = 60.0


class Hook:
    """`answers`: the statuses of its calls; the last one goes on. `hold`: cleared, no call is answered."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers) or [200]
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.text = "ok"
        self.more: dict[str, str] = {}  # fields of the answers
        self.hold = asyncio.Event()
        self.hold.set()

    @property
    def told(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        await self.hold.wait()
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, text=self.text, headers=self.more)


@asynccontextmanager
async def listening(hook: Hook) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hooks/7f3a9c", hook.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield f"http://127.0.0.1:{server.port}/hooks/7f3a9c"
    finally:
        hook.hold.set()
        await server.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.01)
