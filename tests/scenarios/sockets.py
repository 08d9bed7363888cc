"""A model that speaks WebSocket, by aiohttp: it tells its name, then sends back what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web


class Talker:
    """`opened` counts sockets, `codes` how they were closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened = 0
        self.codes: list[int | None] = []
        self.port = 0

    async def talk(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("v1.chat",), compress=True)
        await ws.prepare(request)
        self.opened += 1
        await ws.send_str(self.name)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
        self.codes.append(ws.close_code)
        return ws

    async def name_it(self, request: web.Request) -> web.Response:
        return web.Response(text=self.name)


@contextlib.asynccontextmanager
async def talking(name: str) -> AsyncIterator[Talker]:
    talker = Talker(name)
    app = web.Application()
    app.router.add_get("/chat", talker.talk)
    app.router.add_route("*", "/{rest:.*}", talker.name_it)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    talker.port = int(sock.getsockname()[1])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    try:
        yield talker
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
