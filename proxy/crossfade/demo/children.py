"""What the demo starts: how each is named, whether it has ended, and how it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

END_TIMEOUT = 10.0  # seconds in which a process may end after a TERM
SHOWN = 2000  # characters: the end of a log


class Started(NamedTuple):
    """By the demo itself."""

    name: str
    log: Path
    process: Process

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    @property
    def end(self) -> str:
        """In words, with the end of its log."""
        code = self.process.returncode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"
        return f"{self.name} {how}\n{end_of(self.log)}"


class Registered(NamedTuple):
    """A server of a version that was trained meanwhile: it outlives whoever started it."""

    name: str
    log: Path
    pid: int

    @property
    def has_ended(self) -> bool:
        return not is_told(self.pid, 0)

    @property
    def end(self) -> str:
        return f"{self.name} has ended\n{end_of(self.log)}"


def registered_in(registry: Path) -> list[Registered]:
    """Versions of which a server was started, by their tags."""
    found = []
    for path in registry.glob("churn/*/metadata.json"):
        pid = json.loads(path.read_bytes()).get("tags", {}).get("pid")
        if pid is not None:
            found.append(Registered(f"model-{path.parent.name}", path.with_name("server.log"), int(pid)))
    return found


def end_of(log: Path) -> str:
    return f"--- {log.name}\n{log.read_text(errors='replace')[-SHOWN:]}"


@contextlib.asynccontextmanager
async def child(*words: str, errors: int | None = STDOUT, **given: Any) -> AsyncIterator[Process]:
    """`python -m WORDS`, its output in pipes. It has ended when the block has, also when the block is cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, stdout=PIPE, stderr=errors, **given
    )
    try:
        yield process
    finally:
        await ended(process)


async def ended(process: Process) -> None:
    """By a TERM, or else by a KILL. Its pipes are read: asyncio takes a process for running until they are empty."""
    for how in (process.terminate, process.kill):
        if process.returncode is None:
            how()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.communicate(), END_TIMEOUT)


def is_told(pid: int, sign: int) -> bool:
    """False if there is no such process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
        return True
    return False
