"""A gate holds a rollout until it says go, over a kill of the proxy too, and people are told of each decision once it is made."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from loadtests.ports import free_port
from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

FREEZE = "the webhook answered 403: not on a Friday"


class Others:
    """A gate and a chat. `status`: what each of them answers; `told`: what each of them was told."""

    def __init__(self) -> None:
        self.status = {"gate": 403, "chat": 503}
        self.told: dict[str, list[Any]] = {"gate": [], "chat": []}

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.told[name].append(await request.json())
        return web.Response(status=self.status[name], text="not on a Friday")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        port = free_port()
        app = web.Application()
        app.router.add_post("/{name}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


async def test_a_gate_and_messages_survive_kill_9_and_a_takeover(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    others = Others()
    async with others.listening() as url:
        steps = f"[{{weight: 20%, hold: 500ms, gate: {{webhook: '{url}/gate'}}}}, {{weight: 50%, hold: 1h}}]"
        head = f"notify: {{webhook: '{url}/chat', on: [begin, advance, abort]}}\n"
        proxy = Proxy(tmp_path, head + routing(models, canary(steps)))
        async with running(proxy), Load(proxy.url) as load:
            await held_until_go(proxy, others)
            await told_by_the_successor(proxy, others)
            await load.wait_for_answers(50)


async def held_until_go(proxy: Proxy, others: Others) -> None:
    async def waits() -> bool:
        return FREEZE in (await proxy.rollout())["waiting_for"]

    async def advanced() -> bool:
        return bool((await proxy.rollout())["step"] == 1)

    await wait_until(waits, "the gate holds it")
    assert others.told["gate"][0]["to"] == {"weight": 0.5, "promote": False}
    assert await proxy.split() == {"v2": 0.8, "v3": 0.2}
    await proxy.stop(signal.SIGKILL)
    await proxy.start()
    await wait_until(waits, "the gate holds it after kill -9")
    others.status["gate"] = 204
    await wait_until(advanced, "the go")
    assert await proxy.split() == {"v2": 0.5, "v3": 0.5}
    decisions = (await proxy.get("/api/v1/decisions?route=churn"))["decisions"]
    gates = [d["to"]["gate"] for d in decisions if d["action"] == "gate"]
    assert gates[0] == "UNDECIDED" and gates[-1] == "go"


async def told_by_the_successor(proxy: Proxy, others: Others) -> None:
    """All messages so far were refused, and wait."""
    told = others.told["chat"]
    await wait_until(lambda: told, "a message that is refused")
    assert await proxy.take_over() == 0
    assert (await proxy.call("POST", "/api/v1/rollouts/churn/abort"))[0] == 200
    told.clear()
    others.status["chat"] = 200
    await wait_until(lambda: told and told[-1]["event"] == "abort", "all messages, from the successor")
    assert [each["event"] for each in told] == ["begin", "advance", "abort"]
    assert len({each["id"] for each in told}) == 3
