"""Two hundred reloads, each with routes and backends of its own: nothing of those that are gone is kept."""

from __future__ import annotations

import re
from pathlib import Path

from tests.scenarios.harness import Model, Proxy, running

RELOADS = 200


def generation(number: int, model: Model) -> str:
    """A split needs a route's order of buckets, which takes the most memory of all that a route has."""
    a, b = f"a{number}", f"b{number}"
    return f"""
backends:
  {a}: {{endpoints: [http://127.0.0.1:{model.port}], health: false}}
  {b}: {{endpoints: [http://localhost:{model.port}], health: false}}
routes:
  - {{name: r{number}, match: {{prefix: /}}, split: {{{a}: 70%, {b}: 30%}}}}
"""


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_two_hundred_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    model = Model("v2")
    proxy = Proxy(tmp_path, generation(0, model), workers=1)
    open_before: list[int] = []
    async with running(model, proxy):
        for number in range(1, RELOADS + 1):
            proxy.write(generation(number, model))
            status, problem = await proxy.call("POST", "/api/v1/reload")
            assert status == 200, problem
            if number in (10, RELOADS):
                (worker,) = (await proxy.get("/api/v1/status"))["workers"]
                open_before.append(descriptors(proxy.child.pid) + descriptors(worker["pid"]))
        page = await proxy.get("/metrics")
        named = {int(found) for found in re.findall(r'(?:route|backend)="[rab](\d+)"', page)}
        assert named == {RELOADS - 1, RELOADS}
        assert open_before[1] <= open_before[0] + 5
        assert await proxy.split(f"r{RELOADS}") == {f"a{RELOADS}": 0.7, f"b{RELOADS}": 0.3}
