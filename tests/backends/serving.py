"""Model servers for the tests: in this process with a real socket, or as the real command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from crossfade_backends import operations
from crossfade_backends.scoring import load_served_model
from crossfade_backends.server import LOADED, Load, ServerConfig, create_app, start_server

ROW: dict[str, Any] = dict(operations.ROW)
TENSOR = {"name": "features", "shape": [1, 5], "datatype": "FP64", "data": [3, 80.5, 4, 1, 200]}


@asynccontextmanager
async def serving(
    registry: Path,
    version: str = "v3",
    *,
    load: Load = load_served_model,
    wait: bool = True,
    **options: Any,
) -> AsyncIterator[ClientSession]:
    """A client whose base URL is the server's; `options` are those of ServerConfig."""
    config = ServerConfig(registry, version, **{"seed": 7, **options})
    app = await asyncio.to_thread(create_app, config, load)
    runner, url = await start_server(app, "127.0.0.1", 0)
    try:
        if wait:
            await app[LOADED]
        async with ClientSession(url) as client:
            yield client
    finally:
        await runner.cleanup()


@asynccontextmanager
async def command(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs `python -m crossfade_backends.server` on a free port; kills it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "crossfade_backends.server",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CROSSFADE_MODEL_PORT": "0", **environment},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def listening_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout
    line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on http://127.0.0.1:"), line
    return line.split()[-1]


async def until_healthy(client: ClientSession) -> None:
    while True:
        async with client.get("/health") as answer:
            if answer.status == 200:
                return
        await asyncio.sleep(0.02)


async def fetch(client: ClientSession, method: str, path: str, **body: Any) -> tuple[int, Any]:
    """Status and JSON."""
    async with client.request(method, path, **body) as answer:
        return answer.status, await answer.json()
