"""Measures the memory of an idle connection: `python -m loadtests.connections`.

Clients connect, send one request and stay connected. The cost of one connection is the growth of the memory
of the proxy's processes (PSS, which counts shared pages once), divided by the number of clients. Memory of
the kernel for a connection belongs to no process and is not included. Prints JSON and writes it to
loadtests/results.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from loadtests.accounting import memory_mib
from loadtests.measured_proxy import MeasuredProxy, Origins
from loadtests.ports import free_ports
from loadtests.processes import BenchError, child, wait_until_answering
from loadtests.proxies import MAKERS, is_present
from loadtests.report import RESULTS

FILE = RESULTS / "connections.json"
NAMES = ("crossfade", "nginx")
_SPARE = 500  # descriptors of a process in addition to those of its clients
_AT_ONCE = 100  # clients that connect at the same time
_REQUEST = b"GET /health HTTP/1.1\r\nHost: h\r\nX-Customer-Id: %d\r\n\r\n"
_SETTLE = 1.0  # seconds after which the memory of an idle proxy no longer changes


class Cost(msgspec.Struct):
    """Memory of all processes of the proxy, in MiB."""

    proxy: str
    version: str
    before: float
    with_connections: float
    bytes_per_connection: int


class Costs(msgspec.Struct):
    date: str
    connections: int
    costs: list[Cost]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.connections", description=__doc__)
    parser.add_argument(
        "--connections", type=int, default=10_000, help="number of connections (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, default=FILE, help="file for the result (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        allow_descriptors(options.connections + _SPARE)
        costs = [measure(name, options.connections) for name in NAMES if is_present(name)]
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    now = datetime.now(UTC).isoformat(timespec="seconds")
    written = msgspec.json.format(msgspec.json.encode(Costs(now, options.connections, costs)))
    print(written.decode())
    options.json.write_bytes(written + b"\n")
    return 0


def allow_descriptors(count: int) -> None:
    """Raises the limit for this process and the processes that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(f"the limit is {hard} descriptors per process (ulimit -Hn), but {count} are needed")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def measure(name: str, connections: int) -> Cost:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = free_ports(2)
        origins = dict(zip("ab", ports, strict=True))
        argv = [sys.executable, "-m", "loadtests.peers.origin", *(f"{n}={p}" for n, p in origins.items())]
        log = folder / "origins.log"
        process = stack.enter_context(child(argv, frozenset(), log))
        for port in ports:
            wait_until_answering(process, port, log)
        proxy = _with_capacity(name, folder, origins, connections)
        log = folder / "proxy.log"
        process = stack.enter_context(child(proxy.argv, frozenset(), log))
        wait_until_answering(process, proxy.port, log)
        before, after = asyncio.run(_measure_memory(process.pid, proxy.port, connections))
    each = round((after - before) * 1024 * 1024 / connections)
    return Cost(proxy.name, proxy.version, before, after, each)


def _with_capacity(name: str, folder: Path, origins: Origins, connections: int) -> MeasuredProxy:
    """The proxy of the bench, but with limits for so many connections that are idle for an hour."""
    proxy = MAKERS[name](folder, origins)
    files = {"crossfade": "bench.yaml", "nginx": "nginx.conf"}
    file = folder / files[name]
    text = file.read_text()
    if name == "nginx":
        if "worker_connections 4096;" not in text:
            raise BenchError("the configuration of nginx has changed: worker_connections not found")
        text = text.replace("worker_connections 4096;", f"worker_connections {connections + _SPARE};")
        text = text.replace("http {", "http {\n  keepalive_timeout 1h;", 1)
    else:
        text += f"limits: {{connections: {connections + _SPARE}, keep_alive: 1h}}\n"
    file.write_text(text)
    return proxy


async def _measure_memory(pid: int, port: int, connections: int) -> tuple[float, float]:
    """Memory of the proxy in MiB, after a warm-up, before and with so many idle connections."""
    for writer in await connect(port, _AT_ONCE):
        writer.close()
    await asyncio.sleep(_SETTLE)
    before = memory_mib(pid)
    writers: list[asyncio.StreamWriter] = []
    while len(writers) < connections:
        writers += await connect(port, min(_AT_ONCE, connections - len(writers)))
    await asyncio.sleep(_SETTLE)
    after = memory_mib(pid)
    for writer in writers:
        if writer.is_closing():
            raise BenchError("the proxy closed an idle connection")
        writer.close()
    return before, after


async def connect(port: int, count: int) -> list[asyncio.StreamWriter]:
    return list(await asyncio.gather(*(_connect_one(port, n) for n in range(count))))


async def _connect_one(port: int, customer: int) -> asyncio.StreamWriter:
    """A connection that has received one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_REQUEST % customer)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"the answer is not a 200: {head!r}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return writer


if __name__ == "__main__":
    raise SystemExit(main())
