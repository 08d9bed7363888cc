"""The proxy of a soak: its processes, their logs, and calls of its admin API.

Every process bears a mark in its environment, which workers inherit; so all that were started can be found, whoever their parent is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from loadtests.ports import free_port
from tests.soak.record import Record

MARK = "CROSSFADE_SOAK"
RECOVERY = 90.0  # seconds until everything must be up again


@dataclass(frozen=True)
class Answer:
    """Of the admin API. `status` 0: there was none."""

    status: int
    body: Any


@dataclass(frozen=True)
class Proc:
    pid: int
    role: str  # control or worker


class Proxy:
    """`control`: the process that serves now, as far as the soak knows."""

    control: subprocess.Popen[bytes]

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record
        self.port, self.admin_port = free_port(), free_port()
        self.file, self.state = folder / "routing.yaml", folder / "state.db"
        self.mark = uuid.uuid4().hex
        self.logs = list[Path]()
        self.starting = asyncio.Lock()  # no start while the file is broken on purpose

    # ── processes ─────────────────────────────────────────────────────────────────────────────

    def spawn(self, *options: str) -> subprocess.Popen[bytes]:
        self.logs.append(self.folder / f"log-{len(self.logs)}")
        with self.logs[-1].open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "crossfade", "run", *options, str(self.file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, MARK: self.mark},
            )  # fmt: skip

    def processes(self) -> list[Proc]:
        """All that live and bear the mark."""
        found, mark = [], f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z" and b"crossfade" in words:
                        role = "worker" if b"worker" in words else "control"
                        found.append(Proc(int(folder.name), role))
        return found

    def pids(self, role: str) -> list[int]:
        return sorted(each.pid for each in self.processes() if each.role == role)

    async def wait(self, process: subprocess.Popen[bytes], seconds: float) -> int | None:
        """The exit code; None if it still runs then."""
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return process.returncode

    async def settle(self) -> bool:
        """Waits until the control process is ready with two workers up, and no more processes are there."""
        end = time.monotonic() + RECOVERY
        while time.monotonic() < end:
            status = await self.call("GET", "/api/v1/status")
            if status.status == 200 and (await self.call("GET", "/readyz")).status == 200:
                workers = [w["pid"] for w in status.body["workers"] if w["up"]]
                if len(workers) == 2 and len(self.processes()) == 3:
                    return True
            await asyncio.sleep(0.1)
        return False

    async def end_all(self) -> None:
        """Ends what is left, by its id."""
        for each in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        if hasattr(self, "control"):
            await self.wait(self.control, 10)

    # ── the admin API ─────────────────────────────────────────────────────────────────────────

    async def call(
        self, method: str, path: str, body: Any = None, actor: str = "soak", seconds: float = 30.0
    ) -> Answer:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers={"X-Crossfade-Actor": actor}) as session,
                session.request(method, f"http://127.0.0.1:{self.admin_port}{path}", json=body) as response,
            ):
                text = await response.text()
                return Answer(response.status, json.loads(text) if text.startswith(("{", "[")) else text)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Answer(0, "")

    async def split(self, route: str) -> dict[str, float] | None:
        answer = await self.call("GET", f"/api/v1/routes/{route}")
        return answer.body["split"] if answer.status == 200 else None

    def connect_to_admin(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.admin_port), timeout=2)
