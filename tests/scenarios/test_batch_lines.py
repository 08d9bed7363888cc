"""Lines of `POST /batch` go through the proxy as they come: it keeps neither them nor their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from crossfade_backends.lines import NDJSON
from crossfade_backends.operations import ROW
from crossfade_backends.train import DEFAULT_SEED, train_registry
from tests.backends.serving import serving
from tests.scenarios.harness import Proxy, running

CONFIG = """
backends:
  v3: {{endpoints: {url}}}
routes:
  - name: churn
    match: {{path: /batch}}
    split: {{v3: 100%}}
"""


async def test_each_line_is_answered_while_the_next_is_not_sent_yet(tmp_path: Path) -> None:
    await asyncio.to_thread(train_registry, tmp_path / "models", 6_000, DEFAULT_SEED)
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def lines() -> AsyncIterator[bytes]:
        for n in range(3):
            yield json.dumps({**ROW, "customer_id": n}).encode() + b"\n"
            assert json.loads(await answered.get())["customer_id"] == n

    async with serving(tmp_path / "models") as model:
        proxy = Proxy(tmp_path, CONFIG.format(url=str(model._build_url("/")).rstrip("/")), workers=1)
        async with running(proxy), aiohttp.ClientSession() as client:
            headers = {"Content-Type": NDJSON}
            async with client.post(f"{proxy.url}/batch", data=lines(), headers=headers) as answer:
                assert (answer.status, answer.content_type) == (200, NDJSON)
                found = 0
                async for line in answer.content:
                    answered.put_nowait(line)
                    found += 1
    assert found == 3
