"""Operators' verbs at random, also wrong ones, and clients of the admin port that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

from tests.soak.proxy import Answer, Proxy
from tests.soak.record import Acknowledged, Record

VERBS = ("pause", "resume", "promote", "abort", "abort", "rollback", "retry", "retry", "restart", "restart")


class Operators:
    def __init__(self, proxy: Proxy, record: Record, seed: str) -> None:
        self.proxy, self.record, self.random = proxy, record, random.Random(seed)
        self.all: dict[str, Callable[[], Awaitable[None]]] = {
            "verb": self.command,
            "verb-again": self.command,
            "abort-restart": self.abort_and_restart,
            "split": self.split,
            "wrong-command": self.command_wrongly,
            "slow-admin": self.stall_admin,
            "read-all": self.read_all,
        }

    async def command(self) -> None:
        await self.send(self.random.choice(VERBS))

    async def abort_and_restart(self) -> None:
        await self.send("abort")
        await asyncio.sleep(self.random.uniform(0.5, 3))
        await self.send("restart")

    async def send(self, verb: str) -> Answer:
        answer = await self.proxy.call("POST", f"/api/v1/rollouts/churn/{verb}", actor="operator")
        now = time.time()
        self.record.act(f"{verb}: {answer.status}")
        if verb in ("abort", "rollback") and answer.status in (200, 202):
            self.record.acknowledged.append(Acknowledged("/predict", verb, now, frozenset({"v2"})))
        self.judge(answer, f"{verb} of churn")
        return answer

    def judge(self, answer: Answer, what: str) -> None:
        if answer.status >= 500 and answer.status not in (503, 504):
            self.record.violate("api", f"{what}: {answer.status} {str(answer.body)[:300]}")

    async def split(self) -> None:
        share = self.random.choice((0, 1, 30, 50, 99, 100))
        weights = {"v2": share, "v4": 100 - share}
        answer = await self.proxy.call("PUT", "/api/v1/routes/plain/split", weights, actor="operator")
        now = time.time()
        self.record.act(f"split of plain {weights}: {answer.status}")
        self.judge(answer, f"split {weights}")
        if answer.status == 200:
            serving = frozenset(name for name, weight in weights.items() if weight)
            self.record.acknowledged.append(Acknowledged("/plain", f"split {weights}", now, serving))

    async def command_wrongly(self) -> None:
        method, path, body = self.random.choice(
            (
                ("POST", "/api/v1/rollouts/nobody/abort", None),
                ("POST", "/api/v1/rollouts/churn/explode", None),
                ("POST", "/api/v1/rollouts/churn/abort", {"reason": 7}),
                ("POST", "/api/v1/rollouts/churn/abort?challenger=v9", None),
                ("PUT", "/api/v1/routes/plain/split", {"v2": "much"}),
                ("PUT", "/api/v1/routes/plain/split", {"v9": 100}),
                ("PUT", "/api/v1/routes/nobody/split", {"v2": 100}),
                ("PUT", "/api/v1/routes/churn/split", {"v2": -1, "v3": 101}),
                ("POST", "/api/v1/config", {"listen": 7}),
                ("GET", "/api/v1/decisions?limit=-1", None),
            )
        )
        answer = await self.proxy.call(method, path, body, actor="operator")
        self.record.act(f"{method} {path} {body or ''}: {answer.status}")
        if answer.status and not 400 <= answer.status < 500:
            self.record.violate("api", f"{method} {path} {body or ''}: {answer.status} {answer.body}")

    async def stall_admin(self) -> None:
        """Connections with half a request, or none, that stay."""
        with self.record.fault("slow admin clients"):
            socks = []
            for _ in range(self.random.randrange(1, 20)):
                with contextlib.suppress(OSError):
                    socks.append(await asyncio.to_thread(self.proxy.connect_to_admin))
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.sendall(
                        self.random.choice(
                            (b"", b"GET /metr", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
                        )
                    )
            await asyncio.sleep(self.random.uniform(1, 5))
            for sock in socks:
                sock.close()

    async def read_all(self) -> None:
        """What a dashboard and a scraper read."""
        for path in (
            "/metrics",
            "/api/v1/status",
            "/api/v1/rollouts/churn/why",
            "/api/v1/decisions?limit=100",
            "/",
        ):
            answer = await self.proxy.call("GET", path)
            self.judge(answer, f"GET {path}")
