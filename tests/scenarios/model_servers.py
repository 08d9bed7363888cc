"""Small servers with the paths of Triton, TensorFlow Serving and a hosted model. Any other request gets 404, 401 or 421."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

HOST = "models.example.com"
KEY = "a-key-of-the-environment"


class ModelServer:
    """`answered`: how often each path was asked, with the status of the answer."""

    port: int

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: Counter[tuple[str, int]] = Counter()
        self.bodies: list[Any] = []
        self.broken = False

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = 503 if self.broken else CHECKS[self.name](request)
        if request.method == "POST":
            self.answered[request.path_qs, status] += 1
            self.bodies.append(json.loads(body or b"null"))
        return web.json_response({"by": self.name}, status=status)


def _triton(request: web.Request) -> int:
    here = "/v2/models/churn/versions/3"
    ready = request.method == "GET" and request.path == f"{here}/ready"
    return 200 if ready or (request.method == "POST" and request.path == f"{here}/infer") else 404


def _tf_serving(request: web.Request) -> int:
    ready = request.method == "GET" and request.path == "/v1/models/churn"
    asked = request.method == "POST" and request.path == "/v1/models/churn/versions/2:predict"
    return 200 if ready or asked else 404


def _hosted(request: web.Request) -> int:
    """It answers for its own host only, wants a key, and must not get cookies."""
    if request.host != HOST:
        return 421
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return 401
    if request.cookies:
        return 400
    return 200 if request.path in ("/v1/models", "/v1/chat/completions") else 404


CHECKS: dict[str, Callable[[web.Request], int]] = {
    "triton": _triton,
    "tf": _tf_serving,
    "hosted": _hosted,
}


@asynccontextmanager
async def model_servers() -> AsyncIterator[dict[str, ModelServer]]:
    servers = {name: ModelServer(name) for name in CHECKS}
    async with AsyncExitStack() as stack:
        for server in servers.values():
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", server.answer)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            server.port = runner.addresses[0][1]
        yield servers
