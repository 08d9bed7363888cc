"""The prober against real sockets: thresholds, changes only, and reloads that forget nothing."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy.config.load import Loaded, load
from proxy.config.model import HealthConfig
from proxy.control.prober import Condition, Names, Prober


class Model:
    """A server whose health is set by the test."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.port = 0
        self.hang = False

    async def health(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hang:
            await asyncio.sleep(0.9)
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, headers=headers)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[Model]:
        app = web.Application()
        app.router.add_get("/health", self.health)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[Names, Names]] = []
        self.refuse = False

    async def changed(self, down: Names, now: float, seen: Names) -> None:
        if self.refuse:
            self.refuse = False
            raise RuntimeError("not now")
        self.heard.append((down, seen))

    @property
    def down(self) -> Names:
        return self.heard[-1][0] if self.heard else frozenset()

    @property
    def seen(self) -> Names:
        return self.heard[-1][1] if self.heard else frozenset()


def config(port: int, health: str = "{path: /health, interval: 10ms, timeout: 300ms}") -> Loaded:
    text = f"""
    listen: 127.0.0.1:0
    backends:
      v2: {{endpoints: [http://127.0.0.1:{port}], health: {health}}}
    routes:
      - {{name: r, match: {{prefix: /}}, split: {{v2: 100%}}}}
    """
    return load(textwrap.dedent(text), "routing.yaml", {})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def probing(wanted: Loaded) -> AsyncIterator[tuple[Prober, Listener]]:
    listener = Listener()
    prober = Prober(listener.changed)
    prober.configure(wanted)
    try:
        yield prober, listener
    finally:
        await prober.close()


@pytest.mark.parametrize(
    ("answers", "up"),
    [
        ("", True),  # optimistic
        ("..", True),
        ("xx", True),
        ("xxx", False),
        ("xx.xx", True),
        ("xxx.", True),  # never well before
        ("xxx..", True),
        (".xxx.", False),
        (".xxx..", True),
        (".xxx.x.", False),
        (".xxx", False),
    ],
)
def test_an_endpoint_is_down_after_so_many_failures_and_up_after_so_many_successes(answers, up):
    condition = Condition()
    for answer in answers:
        condition.note(answer == ".", HealthConfig(healthy_after=2, unhealthy_after=3))
    assert (condition.up, condition.seen) == (up, "." in answers)


async def test_it_tells_of_changes_and_only_of_changes():
    async with Model().serving() as model, probing(config(model.port)) as (_, listener):
        name = frozenset({("v2", f"127.0.0.1:{model.port}")})
        await until(lambda: model.asked > 5)
        assert listener.heard == [(frozenset(), name)]
        model.status = 503
        await until(lambda: listener.down == name)
        asked = model.asked
        await until(lambda: model.asked > asked + 5)
        model.status = 204
        await until(lambda: not listener.down)
        assert listener.heard == [(frozenset(), name), (name, name), (frozenset(), name)]


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_only_2xx_is_healthy(status):
    async with Model().serving() as model:
        model.status = status
        async with probing(config(model.port)) as (_, listener):
            await until(lambda: bool(listener.down))
            assert not listener.seen


async def test_an_answer_that_takes_too_long_is_none():
    async with Model().serving() as model:
        model.hang = True
        async with probing(config(model.port, "{path: /health, interval: 10ms, timeout: 20ms}")) as (
            _,
            listener,
        ):
            await until(lambda: bool(listener.down))


@pytest.mark.parametrize("health", ["{interval: 10ms}", "{path: /health, interval: 10ms}"])
async def test_a_server_that_goes_and_comes_back(health):
    model = Model()
    async with model.serving():
        wanted = config(model.port, health)
    async with probing(wanted) as (_, listener):
        await until(lambda: bool(listener.down))
        assert not listener.seen
        async with model.serving(model.port):
            await until(lambda: not listener.down)
            assert listener.seen


async def test_garbage_is_not_healthy():
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, probing(config(server.sockets[0].getsockname()[1])) as (_, listener):
        await until(lambda: bool(listener.down))


async def test_a_reload_forgets_nothing_of_the_endpoints_that_stay():
    async with Model().serving() as model:
        model.status = 500
        async with probing(config(model.port)) as (prober, listener):
            await until(lambda: bool(listener.down))
            prober.configure(config(model.port, "{path: /health, interval: 20ms}"))
            asked = model.asked
            await until(lambda: model.asked > asked + 3)
            assert len(listener.heard) == 1


async def test_an_endpoint_that_is_probed_no_more_is_down_no_more():
    async with Model().serving() as model:
        model.status = 500
        async with probing(config(model.port)) as (prober, listener):
            await until(lambda: bool(listener.down))
            prober.configure(config(model.port, "false"))
            await until(lambda: not listener.down)
            asked = model.asked
            await asyncio.sleep(0.05)
            assert model.asked <= asked + 1


async def test_a_change_that_was_not_taken_is_told_again():
    async with Model().serving() as model, probing(config(model.port)) as (_, listener):
        listener.refuse = True
        await until(lambda: bool(listener.seen))
        assert not listener.refuse


async def test_closing_leaves_nothing_behind():
    async with Model().serving() as model:
        before = asyncio.all_tasks()
        async with probing(config(model.port)):
            await until(lambda: model.asked > 2)
        assert asyncio.all_tasks() == before
