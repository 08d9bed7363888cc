"""A batch through the proxy: each customer gets the version that the API gives it, and the shadow gets its copies."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp

from crossfade_backends.data import as_request, draw_sample
from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.test_shadow_models import backend, model_servers

ROWS = 300
COPIES = 200  # a mirror that is behind leaves some out
ROUTE = """
routes:
  - name: churn
    match: {path: /predict}
    sticky: {json: customer_id}
    split: {v2: 50%, v3: 50%}
    mirror: [{to: v4, sample: 100%, safe: true}]
    limits: {rate: {key: client_ip, per_second: 300, burst: 20}}
"""


async def python(*module: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await child.communicate())[0].decode()
    assert child.returncode is not None
    return child.returncode, output


async def ask(session: aiohttp.ClientSession, url: str, row: dict[str, Any]) -> Any:
    while True:
        async with session.post(url, json=row) as response:
            if response.status != 429:
                assert response.status == 200, await response.text()
                return await response.json()
        await asyncio.sleep(0.05)


async def test_a_batch_respects_the_split_and_feeds_the_shadow(tmp_path: Path) -> None:
    registry = tmp_path / "models"
    assert (await python("crossfade_backends.train", "--registry", str(registry), "--rows", "2000"))[0] == 0
    sample = draw_sample(ROWS, 21)
    rows = [as_request(sample, index) for index in range(ROWS)]
    source, out = tmp_path / "in.ndjson", tmp_path / "out.ndjson"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with model_servers(registry, "v2", "v3", "v4") as urls:
        backends = "".join(backend(version, url) for version, url in urls.items())
        proxy = Proxy(tmp_path, f"backends:\n{backends}{ROUTE}")
        async with running(proxy), aiohttp.ClientSession() as session:
            via = ("--via", f"{proxy.url}/predict", "--chunk", "100", "--at-once", "32")
            code, said = await python("crossfade_backends.batch", str(source), str(out), *via)
            assert code == 0, said
            found = [json.loads(line) for line in out.read_text().splitlines()]
            assert [row["customer_id"] for row in found] == [row["customer_id"] for row in rows]
            assert {row["model_version"] for row in found} == {"v2", "v3"}
            for row, scored in list(zip(rows, found, strict=True))[::10]:
                answer = await ask(session, f"{proxy.url}/predict", row)
                names = ("churn_probability", "risk_level", "model_version")
                assert {name: scored[name] for name in names} == {name: answer[name] for name in names}

            async def has_copies() -> bool:
                async with session.get(f"{urls['v4']}/metrics") as response:
                    return predictions(await response.text()) >= COPIES

            await wait_until(has_copies, "the shadow gets copies")


def predictions(page: str) -> float:
    """Requests of /predict that a model server has counted."""
    counted = [
        line for line in page.splitlines() if line[0] != "#" and "/predict" in line and "_total" in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in counted)
