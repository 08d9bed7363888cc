"""The examples as their folders have them; only ports are others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml

from loadtests.ports import free_port
from tests.docs.blocks import ROOT
from tests.scenarios.harness import Process, Proxy, running, wait_until

EXAMPLES = ROOT / "examples"


class Application(Process):
    """One application of the example; it has started once `/health` answers."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/health"
        super().__init__("uvicorn", "--app-dir", str(folder), name, "--port", str(port))

    async def start(self) -> None:
        await super().start()
        await wait_until(self.answers, lambda: f"{self.url} answers: {self.output}")

    async def answers(self) -> bool:
        assert self.child.returncode is None, self.output
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def proxy_of(example: str, ports: Mapping[int, int], folder: Path) -> Proxy:
    """The proxy with the routing YAML of the example. `ports`: what a port of the file is in the test."""
    config = yaml.safe_load((EXAMPLES / example / "routing.yaml").read_text("utf-8"))
    del config["listen"]  # the harness says where
    for backend in config["backends"].values():
        (url,) = backend["endpoints"]
        address, _, port = url.rpartition(":")
        backend["endpoints"] = [f"{address}:{ports[int(port)]}"]
    return Proxy(folder, yaml.safe_dump(config, sort_keys=False), workers=1)


@asynccontextmanager
async def serving(example: str, applications: Mapping[int, str], folder: Path) -> AsyncIterator[Proxy]:
    """The proxy in front of applications that uvicorn serves. `applications`: by port, `module:name`."""
    ports = {port: free_port() for port in applications}
    servers = [Application(EXAMPLES / example, name, ports[port]) for port, name in applications.items()]
    proxy = proxy_of(example, ports, folder)
    async with running(*servers, proxy):
        yield proxy
