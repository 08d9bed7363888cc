"""Commands as processes of their own: those that go on until somebody ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

TIMEOUT = 60.0  # seconds


class Running:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def line_with(self, part: str) -> str:
        while part not in (line := await self.line()):
            assert line, f"the output has ended without {part}"
        return line

    async def error_with(self, part: str) -> str:
        assert self.process.stderr is not None
        async with asyncio.timeout(TIMEOUT):
            while part not in (line := (await self.process.stderr.readline()).decode()):
                assert line, f"the messages have ended without {part}"
        return line


@asynccontextmanager
async def running(*words: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """`crossfade WORDS`, interrupted at the end; its exit code must say so."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "crossfade",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield Running(process)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), TIMEOUT) == 130
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
