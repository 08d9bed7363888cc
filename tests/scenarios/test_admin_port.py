"""An admin port full of connections that never end: workers are still replaced, and an operator still gets in."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

DESCRIPTORS = 80
SPLIT = "    split: {v2: 100%}\n"


class FewDescriptors(Proxy):
    async def start(self) -> None:
        command = f'ulimit -n {DESCRIPTORS}; exec "{sys.executable}" -m crossfade run "{self.file}"'
        self.child = await asyncio.create_subprocess_exec(
            "sh", "-c", command, stdout=self.log, stderr=self.log
        )
        await wait_until(self.is_ready, "the proxy is ready")


async def test_a_worker_is_replaced_while_clients_hold_the_admin_port(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = FewDescriptors(tmp_path, routing(models, SPLIT))
    held: list[asyncio.StreamWriter] = []
    async with running(proxy):
        for _ in range(3 * DESCRIPTORS):
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.admin_port)
            writer.write(b"GET / HT")
            held.append(writer)
        (first, _) = (await proxy.get("/api/v1/status"))["workers"]
        os.kill(first["pid"], signal.SIGKILL)

        async def replaced() -> bool:
            found = (await proxy.get("/api/v1/status"))["workers"]
            return all(w["up"] and w["pid"] != first["pid"] for w in found)

        await wait_until(replaced, lambda: proxy.output)
        assert proxy.output.count("connections are open") == 1
        assert "Traceback" not in proxy.output
        for writer in held:
            writer.transport.abort()
