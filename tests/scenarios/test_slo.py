"""The class of a route's latency (`slo`): a load test with Locust passes or fails by that of the running proxy."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

ROOT = Path(__file__).parents[2]
OPTIONS = "--headless --users 10 --spawn-rate 50 --run-time 6s --stop-timeout 20s --only-summary"
SLOW = 0.4  # mean seconds of an answer: most take longer than 50 ms, hardly any 5 s


async def load(proxy: Proxy) -> tuple[int, str]:
    """Exit code and output of the load test."""
    admin = {"CROSSFADE_ADMIN_URL": f"http://127.0.0.1:{proxy.admin_port}"}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *OPTIONS.split(), "-H", proxy.url),
        cwd=ROOT, env=os.environ | admin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await child.communicate())[0].decode()
    assert child.returncode is not None
    return child.returncode, output


@pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed (extra: load)")
async def test_locust_passes_or_fails_by_the_class_of_the_running_route(tmp_path: Path) -> None:
    model = Model("v2", jitter=SLOW)
    route = "    split: {v2: 100%}\n    slo: "
    proxy = Proxy(tmp_path, routing({"v2": model}, route + "batch\n"))
    async with running(model, proxy):
        code, output = await load(proxy)
        assert (code, "batch allows 5000 ms" in output) == (0, True), output
        proxy.write(routing({"v2": model}, route + "interactive\n"))

        async def in_force() -> bool:
            return bool((await proxy.get("/api/v1/routes/churn"))["slo"] == "interactive")

        await wait_until(in_force, "the new class is in force")
        code, output = await load(proxy)
    assert (code, "latency: BROKEN" in output, "interactive allows 50 ms" in output) == (1, True, True), (
        output
    )
