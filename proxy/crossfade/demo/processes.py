"""The processes of the demo: three model servers and the proxy, and what an operator does to them.

The demo uses only what a user has: `python -m crossfade_backends.server`, `crossfade run FILE`, edits of the
YAML and calls of the admin API. Ports are free ports. Files are in a temporary directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from crossfade.demo.children import Registered, Started, child, end_of, ended, is_told, registered_in
from crossfade.demo.ending import to_the_end

VERSIONS = ("v2", "v3", "v4")
START_TIMEOUT = 60.0
LOOK_INTERVAL = 0.2

_HEAD = """\
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin_port}}}
workers: 2
state: sqlite:{state}
drain: 5s
{more}backends:
{backends}
routes:
  - name: churn
    match: {{path: /predict, methods: [POST]}}
    sticky: {{json: customer_id}}
    retry: {{pure: true}}
"""

_BACKEND = """\
  churn-{version}:
    endpoints: [{url}]
    health: {{path: /health, interval: 500ms}}
    timeout: {{first_byte: 2s}}
"""


class DemoError(Exception):
    """The demo cannot continue; the message is for the person who started it."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class DemoProcesses:
    """An async context manager; all processes have ended when it exits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.admin_port = free_port()
        self.config = folder / "routing.yaml"
        self.models: dict[str, str] = {}  # version → URL
        self.more = ""  # top-level keys of the YAML
        self.processes: list[Started] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    async def __aenter__(self) -> DemoProcesses:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raises DemoError in place of an error of a request, with what has ended by then."""
        gone = await to_the_end(self._end(error))
        if isinstance(error, aiohttp.ClientError):
            raise DemoError("\n".join([str(error), *gone])) from error

    async def _end(self, error: BaseException | None) -> list[str]:
        """The last that was started is told first. Gives the ends of those that nobody has told."""
        if isinstance(error, aiohttp.ClientError):
            await asyncio.sleep(LOOK_INTERVAL)  # a connection ends before its process does
        gone = [started.end for started in self.processes if started.has_ended]
        await self.session.close()
        await asyncio.gather(*(ended(started.process) for started in reversed(self.processes)))
        await self.stop_registered()
        return gone

    async def stop_registered(self) -> None:
        """Nobody else ends them."""
        running = {each.pid for each in await asyncio.to_thread(registered_in, self.registry)}
        for signs in ([signal.SIGTERM] + [0] * 100, [signal.SIGKILL]):
            for sign in signs:
                running = {pid for pid in running if is_told(pid, sign)}
                if running:
                    await asyncio.sleep(0.1)

    # ── start ─────────────────────────────────────────────────────────────────────────────────

    async def train(self) -> None:
        if importlib.util.find_spec("sklearn") is None:
            raise DemoError("the models of the demo need scikit-learn: pip install 'crossfade[models]'")
        async with child("crossfade_backends.train", "--registry", str(self.registry)) as process:
            output, _ = await process.communicate()
        if process.returncode:
            raise DemoError(f"training failed:\n{output.decode(errors='replace')}")

    @property
    def registry(self) -> Path:
        return self.folder / "models"

    async def start_models(self, versions: Sequence[str] = VERSIONS) -> None:
        ports = {version: free_port() for version in versions}
        for version, port in ports.items():
            self.models[version] = f"http://127.0.0.1:{port}"
            await self.start(
                f"model-{version}",
                *(
                    "crossfade_backends.server",
                    "--registry",
                    str(self.registry),
                    "--model",
                    "churn",
                    "--version",
                    version,
                ),
                *("--host", "127.0.0.1", "--port", str(port)),
            )
        for version, url in self.models.items():
            await self.wait_for(f"{url}/health", f"model {version}")

    async def start_proxy(self, route: str) -> None:
        self.edit(route)
        await self.start("proxy", "crossfade", "run", str(self.config))
        await self.wait_for(f"{self.admin}/readyz", "the proxy")

    async def start(self, name: str, *module: str) -> None:
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *module, cwd=self.folder, stdout=output, stderr=output
            )
        self.processes.append(Started(name, log, process))

    async def end_last(self) -> None:
        """TERM to the process that was started last, and its end."""
        await ended(self.processes[-1].process)
        self.processes.pop()

    async def until_one_ends(self) -> None:
        """Waits for as long as all run. Raises DemoError with those that have ended, and the ends of their logs."""
        registered = await asyncio.to_thread(registered_in, self.registry)
        running: list[Started | Registered] = [*self.processes, *registered]
        while not any(each.has_ended for each in running):
            await asyncio.sleep(LOOK_INTERVAL)
        await asyncio.sleep(LOOK_INTERVAL)  # Ctrl-C ends all that a terminal has, and may be told here last
        raise DemoError("\n".join(each.end for each in running if each.has_ended))

    async def wait_for(self, url: str, what: str) -> None:
        async def answers() -> None:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.session.get(url) as response:
                        if response.status == 200:
                            return
                if any(started.has_ended for started in self.processes):
                    return
                await asyncio.sleep(0.05)

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answers(), START_TIMEOUT)
            if not any(started.has_ended for started in self.processes):
                return
        logs = "\n".join(end_of(started.log) for started in self.processes)
        raise DemoError(f"{what} did not start\n{logs}")

    # ── what an operator does ─────────────────────────────────────────────────────────────────

    def edit(self, route: str) -> None:
        """Write the routing YAML with these last lines of the route. The running proxy notices the change."""
        backends = "".join(_BACKEND.format(version=v, url=url) for v, url in self.models.items())
        head = _HEAD.format(
            port=self.port,
            admin_port=self.admin_port,
            state=self.folder / "crossfade.db",
            more=self.more,
            backends=backends,
        )
        new = self.config.with_suffix(".new")
        new.write_text(head + route)
        new.replace(self.config)

    async def set_fault(self, version: str, faults: Mapping[str, Any]) -> None:
        async with self.session.put(f"{self.models[version]}/faults", json=dict(faults)) as response:
            response.raise_for_status()

    async def clear_faults(self, version: str) -> None:
        async with self.session.delete(f"{self.models[version]}/faults") as response:
            response.raise_for_status()

    async def command(self, verb: str, reason: str) -> None:
        url = f"{self.admin}/api/v1/rollouts/churn/{verb}"
        async with self.session.post(url, json={"reason": reason}) as response:
            if response.status != 200:
                raise DemoError(f"{verb} was refused: {await response.text()}")

    async def feed(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Send feedback: what became of predictions."""
        async with self.session.post(f"{self.admin}/api/v1/feedback", json=list(rows)) as response:
            if response.status != 202:
                raise DemoError(f"the feedback was refused: {await response.text()}")
            answer: dict[str, Any] = await response.json()
            return answer

    async def status(self) -> dict[str, Any]:
        return await self.get("/api/v1/status")

    async def decisions(self, after: int) -> list[dict[str, Any]]:
        answer = await self.get(f"/api/v1/decisions?after={after}")
        found: list[dict[str, Any]] = answer["decisions"]
        return found

    async def get(self, path: str) -> dict[str, Any]:
        async with self.session.get(self.admin + path) as response:
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer
