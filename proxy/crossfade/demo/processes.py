"""The processes of the demo: three model servers and the proxy, and what an operator does to them.

The demo uses only what a user has: `python -m crossfade_backends.server`, `crossfade run FILE`, edits of the
YAML and calls of the admin API. Ports are free ports. Files are in a temporary directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from crossfade.demo.ending import to_the_end

VERSIONS = ("v2", "v3", "v4")
START_TIMEOUT = 60.0
END_TIMEOUT = 10.0  # seconds in which a process may end after a TERM
LOOK_INTERVAL = 0.2
SHOWN = 2000  # characters: the end of a log

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


class Started(NamedTuple):
    name: str
    log: Path
    process: Process

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    def end_of_log(self) -> str:
        return f"--- {self.log.name}\n{self.log.read_text(errors='replace')[-SHOWN:]}"


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

    async def __aexit__(self, *exc: object) -> None:
        await to_the_end(self._end())

    async def _end(self) -> None:
        """The last that was started is told first."""
        await self.session.close()
        await asyncio.gather(*(_ended(started.process) for started in reversed(self.processes)))
        await self.stop_registered()

    async def stop_registered(self) -> None:
        """Servers of versions that were trained meanwhile: they outlive whoever started them."""
        running = await asyncio.to_thread(_registered_in, self.registry)
        for signs in ([signal.SIGTERM] + [0] * 100, [signal.SIGKILL]):
            for sign in signs:
                running = {pid for pid in running if _is_told(pid, sign)}
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
        await _ended(self.processes[-1].process)
        self.processes.pop()

    async def until_one_ends(self) -> None:
        """Waits for as long as all run. Raises DemoError with those that have ended, and the ends of their logs."""
        while not any(started.has_ended for started in self.processes):
            await asyncio.sleep(LOOK_INTERVAL)
        await asyncio.sleep(LOOK_INTERVAL)  # Ctrl-C ends all that a terminal has, and may be told here last
        ended = [started for started in self.processes if started.has_ended]
        raise DemoError(
            "\n".join(f"{each.name} {_end_in_words(each)}\n{each.end_of_log()}" for each in ended)
        )

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
        logs = "\n".join(started.end_of_log() for started in self.processes)
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


@contextlib.asynccontextmanager
async def child(*words: str, errors: int | None = STDOUT, **given: Any) -> AsyncIterator[Process]:
    """`python -m WORDS`, its output in pipes. It has ended when the block has, also when the block is cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, stdout=PIPE, stderr=errors, **given
    )
    try:
        yield process
    finally:
        await _ended(process)


async def _ended(process: Process) -> None:
    """By a TERM, or else by a KILL. Its pipes are read: asyncio takes a process for running until they are empty."""
    for how in (process.terminate, process.kill):
        if process.returncode is None:
            how()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.communicate(), END_TIMEOUT)


def _end_in_words(started: Started) -> str:
    code = started.process.returncode or 0
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"


def _is_told(pid: int, sign: int) -> bool:
    """False if there is no such process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
        return True
    return False


def _registered_in(registry: Path) -> set[int]:
    """The processes that serve its versions, by their tags."""
    found = [json.loads(path.read_bytes()).get("tags", {}) for path in registry.glob("churn/*/metadata.json")]
    return {int(tags["pid"]) for tags in found if "pid" in tags}
