"""A fake model with a WebSocket: it sends its name, and then echoes every message."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web


class WebSocketModel:
    """`opened` counts sockets; `codes` are the close codes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened = 0
        self.codes: list[int | None] = []
        self.port = 0

    async def echo(self, request: web.Request) -> web.StreamResponse:
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

    async def send_name(self, request: web.Request) -> web.Response:
        return web.Response(text=self.name)


@contextlib.asynccontextmanager
async def websocket_model(name: str) -> AsyncIterator[WebSocketModel]:
    model = WebSocketModel(name)
    app = web.Application()
    app.router.add_get("/chat", model.echo)
    app.router.add_route("*", "/{rest:.*}", model.send_name)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    model.port = int(sock.getsockname()[1])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    try:
        yield model
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
