"""The parts of a scenario: the proxy as a process, fake models, and clients that send requests all the time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from loadtests.ports import free_port

TIMEOUT = 90.0  # seconds; long, because the machine may be slow


async def wait_until(condition: Callable[[], Any], what: str | Callable[[], str]) -> Any:
    """The first true value of the condition, which may be a coroutine function. `what` is for the error."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"did not happen in {TIMEOUT:.0f} s: {what if isinstance(what, str) else what()}")


class Process:
    """A child process with its output in a file. Workers that outlive it would keep a pipe open."""

    def __init__(self, *module: str) -> None:
        self.module = module
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`

    async def start(self) -> None:
        self.child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self.module, stdout=self.log, stderr=self.log
        )

    @property
    def output(self) -> str:
        return os.pread(self.log.fileno(), 10_000_000, 0).decode(errors="replace")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.child.returncode is None:
            self.child.send_signal(how)
        return await asyncio.wait_for(self.child.wait(), TIMEOUT)


class Proxy(Process):
    """`crossfade run FILE`, and calls of its admin API."""

    def __init__(self, folder: Path, config: str, workers: int = 2) -> None:
        self.folder = folder
        self.port = free_port()
        self.admin_port = free_port()
        self.workers = workers
        self.file = folder / "routing.yaml"
        self.write(config)
        super().__init__("crossfade", "run", str(self.file))

    async def take_over(self) -> int:
        """Starts a second proxy that takes over; returns the exit code of the first."""
        first = self.child
        self.module = ("crossfade", "run", "--takeover", str(self.file))
        await Process.start(self)
        code = await asyncio.wait_for(first.wait(), TIMEOUT)
        await wait_until(self.is_ready, "the proxy is ready")
        return code

    def write(self, config: str) -> None:
        head = (
            f"listen: 127.0.0.1:{self.port}\nadmin: {{listen: 127.0.0.1:{self.admin_port}}}\n"
            f"workers: {self.workers}\nstate: sqlite:{self.folder / 'state.db'}\ndrain: 5s\n"
        )
        new = self.folder / "routing.new"
        new.write_text(head + config)
        new.replace(self.file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        await super().start()
        await wait_until(self.is_ready, "the proxy is ready")

    async def is_ready(self) -> bool:
        assert self.child.returncode is None, self.output
        try:
            return (await self.call("GET", "/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{self.admin_port}{path}", json=body) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if text.startswith(("{", "[")) else text

    async def get(self, path: str) -> Any:
        status, answer = await self.call("GET", path)
        assert status == 200, answer
        return answer

    async def rollout(self, route: str = "churn") -> dict[str, Any]:
        found: dict[str, Any] = await self.get(f"/api/v1/rollouts/{route}")
        return found

    async def split(self, route: str = "churn") -> dict[str, float]:
        found: dict[str, float] = (await self.get(f"/api/v1/routes/{route}"))["split"]
        return found


@contextlib.asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    try:
        for process in processes:
            await process.start()
        yield
    finally:
        for process in reversed(processes):
            if hasattr(process, "child"):
                await process.stop()
            process.log.close()


class Model(Process):
    """A fake model as a process; it answers each request with its name and needs little CPU."""

    def __init__(self, name: str, port: int | None = None, errors: float = 0.0, jitter: float = 0.0) -> None:
        self.name = name
        self.port = port or free_port()
        super().__init__("tests.scenarios.model", name, str(self.port), str(errors), str(jitter))

    def toggle_errors(self) -> None:
        self.child.send_signal(signal.SIGUSR1)

    async def start(self) -> None:
        await super().start()
        await wait_until(self.listens, f"{self.name} listens")

    def listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


class Load:
    """Clients that send one request after another over keep-alive connections until `stopping` is set.

    `answers`: by model. `backends`: the backend of each model, where they have different names. `assigned`: for each customer
    the assigned backends, in the order of the answers.
    """

    def __init__(
        self,
        url: str,
        clients: int = 8,
        customers: int = 500,
        pause: float = 0.002,
        backends: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.clients = clients
        self.customers = customers
        self.pause = pause
        self.backends = backends or {}
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.assigned: dict[int, list[str]] = {}
        self.stopping = False

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    async def __aenter__(self) -> Load:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        self.tasks = [asyncio.create_task(self.run_client(n)) for n in range(self.clients)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stopping = True
        await asyncio.gather(*self.tasks)
        await self.session.close()

    async def run_client(self, client: int) -> None:
        customer = client
        while not self.stopping:
            customer = (customer + self.clients) % self.customers
            try:
                async with self.session.post(
                    f"{self.url}/predict", json={"customer_id": customer}
                ) as response:
                    text = await response.text()
                    backend = response.headers.get("x-crossfade-backend", "")
                    if response.status == 200 and self.backends.get(text, text) == backend:
                        self.answers[text] += 1
                        assigned = response.headers.get("x-crossfade-assigned", backend)
                        self.assigned.setdefault(customer, []).append(assigned)
                    else:
                        self.failures.append(f"{response.status} {text}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(repr(error))
            await asyncio.sleep(self.pause)

    async def wait_for_answers(self, requests: int) -> None:
        """Waits for so many more answers."""
        goal = self.total + requests
        await wait_until(
            lambda: self.total >= goal, lambda: f"{requests} more answers; failures: {self.failures[:3]}"
        )
