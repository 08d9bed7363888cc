"""The admin API on a real port over a real controller, with the fake workers and clock of the harness."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, ClientSession
from aiohttp.test_utils import TestServer

from crossfade.admin.access import Access
from crossfade.admin.api import admin_app
from crossfade.config.load import Loaded
from crossfade.config.registered import NOTHING
from crossfade.control.configurations import Configurations, Next, Order
from crossfade.control.history import History
from tests.control.harness import CANARY, HEAD, Harness

FILE = HEAD + CANARY
PROBLEM = "application/problem+json"


class Reloads:
    """The `ProxyPort` of the tests; `file`: the text of the file on disk."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.file = FILE
        self.env: dict[str, str] = {}
        self.configurations = Configurations("routing.yaml", lambda: self.file, self.env, lambda: NOTHING)
        self.is_ready = True
        self.actors: list[str] = []

    async def reload(self, order: Order) -> None:
        self.actors.append(order.actor)
        await self.configurations.reload(self.harness.controller, self.use, order)

    async def apply(self, text: str, order: Order) -> None:
        await self.configurations.apply(self.harness.controller, self.use, text, order)

    async def restore(self, number: int, order: Order) -> None:
        await self.configurations.restore(self.harness.controller, self.use, number, order)

    async def use(self, to: Next, order: Order) -> None:
        await self.harness.controller.load(to.loaded, order.actor, self.harness.now, order.force, to.differs)

    def order(self, actor: str) -> Order:
        return Order(actor, self.harness.now)

    def ready(self) -> tuple[bool, str]:
        return self.is_ready, "" if self.is_ready else "draining"

    def check(self, text: str) -> Loaded:
        return self.configurations.check(text)

    def text(self) -> str:
        return self.configurations.loaded.shown


class Site:
    def __init__(self, server: TestServer, session: ClientSession, reloads: Reloads, access: Access) -> None:
        self.server = server
        self.access = access
        self.session = session
        self.reloads = reloads
        self.harness = reloads.harness
        assert server.port is not None
        self.port = server.port
        self.url = f"http://127.0.0.1:{self.port}"

    async def serve_again(self) -> None:
        """A new server of the same proxy, on the same port, after `server` was closed."""
        self.server = TestServer(
            admin_app(self.harness.controller, self.reloads, self.access), host="127.0.0.1", port=self.port
        )
        await self.server.start_server()

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON response, which must have this status; an error must be a problem of RFC 9457."""
        async with self.session.request(method, self.url + path, **options) as response:
            assert response.status == status, await response.text()
            body = await response.json(content_type=None)
            if status >= 400:
                check_problem(response, body)
            return body

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        return await self.ask("GET", path, status, **options)

    async def actors(self) -> list[str]:
        return [d["actor"] for d in (await self.get("/api/v1/decisions"))["decisions"]]


def check_problem(response: ClientResponse, body: Any) -> None:
    assert response.content_type == PROBLEM
    assert body["status"] == response.status
    assert body["title"] and body["detail"]
    assert body["type"] == "about:blank" or body["type"].startswith("urn:crossfade:problem:")


@asynccontextmanager
async def serving(token: str = "", loaded: bool = True, access: Access | None = None) -> AsyncIterator[Site]:
    harness = Harness()
    if loaded:
        await harness.load()
        await harness.tick()
    harness.controller.history = History(harness.controller.state, ":memory:", lambda: harness.now)
    reloads = Reloads(harness)
    access = access or Access.of_token(token)
    server = TestServer(admin_app(harness.controller, reloads, access), host="127.0.0.1")
    await server.start_server()
    site = Site(server, ClientSession(), reloads, access)
    try:
        yield site
    finally:
        await site.session.close()
        await site.server.close()
        await harness.controller.history.close()
        harness.store.close()
