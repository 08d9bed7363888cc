"""What is compared: ways to serve the same model, with the load that shows their difference, and how each is started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loadtests.ports import free_ports
from loadtests.processes import BenchError, child, wait_until_answering
from loadtests.proxies import COMPILED

VERSION = "v3"
TTL = "60s"
PURE: dict[str, object] = {"retry": {"pure": True}}


@dataclass(frozen=True, slots=True)
class Way:
    """Model servers with these flags; with `route`, a proxy in front of them with these further keys of the route."""

    name: str
    flags: tuple[str, ...] = ()
    endpoints: int = 1
    route: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """`rows` of a request; `rate`: requests per second of the moderate load; `pinned`: all servers have one core for themselves."""

    name: str
    title: str
    rows: int
    rate: int
    pinned: bool
    ways: tuple[Way, ...]


BATCHING = Question(
    "batching", "Micro-batching: one row a request, directly to a model server", 1, 400, True,
    (
        Way("each request alone", ("--batch-rows", "1")),
        Way("at most 64 rows, no wait", ("--batch-rows", "64")),
        Way("at most 64 rows or 2 ms", ("--batch-rows", "64", "--batch-wait", "2")),
    ),
)  # fmt: skip
BALANCING = Question(
    "balancing", "Load balancing: 50 rows a request, through the proxy", 50, 100, False,
    (Way("1 endpoint", route={}), Way("2 endpoints", endpoints=2, route={})),
)  # fmt: skip
CACHE = Question(
    "cache", "Response cache: one row a request of 1,000 customers, through the proxy", 1, 400, False,
    (Way("no cache", route=PURE), Way(f"cache of {TTL}", route={**PURE, "cache": {"ttl": TTL}})),
)  # fmt: skip
QUESTIONS = (BATCHING, CACHE, BALANCING)


@dataclass(frozen=True, slots=True)
class Served:
    """`pids`: the proxy and the model servers."""

    name: str
    port: int
    pids: tuple[int, ...]


def train(folder: Path) -> None:
    command = [sys.executable, "-m", "crossfade_backends.train", "--registry", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{command!r} failed: {done.stdout}{done.stderr}")


def start(way: Way, registry: Path, folder: Path, cores: frozenset[int], stack: ExitStack) -> Served:
    """All that it starts ends with the stack. Raises BenchError."""
    ports = free_ports(way.endpoints)
    pids = [_start_model(registry, port, way.flags, folder, cores, stack) for port in ports]
    if way.route is None:
        return Served(way.name, ports[0], tuple(pids))
    port, admin = free_ports(2)
    file, log = folder / "routing.yaml", folder / "proxy.log"
    file.write_text(json.dumps(_routing(port, admin, ports, way.route, folder)))  # JSON is YAML
    command = [*_python(), "-P", "-m", "crossfade", "run", str(file)]
    process = stack.enter_context(child(command, cores, log))
    wait_until_answering(process, port, log)
    return Served(way.name, port, (process.pid, *pids))


def _python() -> list[str]:
    return ["env", f"PYTHONPATH={COMPILED}", sys.executable] if COMPILED.is_dir() else [sys.executable]


def _start_model(
    registry: Path, port: int, flags: Sequence[str], folder: Path, cores: frozenset[int], stack: ExitStack
) -> int:
    log = folder / f"model-{port}.log"
    where = ("--registry", str(registry), "--version", VERSION, "--port", str(port))
    command = [sys.executable, "-m", "crossfade_backends.server", *where, *flags]
    process = stack.enter_context(child(command, cores, log))
    wait_until_answering(process, port, log)
    return process.pid


def _routing(
    port: int, admin: int, models: Sequence[int], route: dict[str, object], folder: Path
) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{port}",
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "workers": 1,
        "state": f"sqlite:{folder}/crossfade.db",
        "backends": {"model": {"endpoints": [f"http://127.0.0.1:{each}" for each in models]}},
        "routes": [{"name": "churn", "match": {"prefix": "/"}, "split": {"model": "100%"}, **route}],
    }
