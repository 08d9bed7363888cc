"""What an idle connection costs in memory: `python -m loadtests.connections`.

Clients connect, ask once, and stay; the growth of the proxy's processes (PSS, so that what they share
counts once) by the number of clients is the cost of one. The kernel's part of a connection is in no
process's memory, and is not in the figure. Prints JSON, and writes it to loadtests/results.
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
from loadtests.contestant import Contestant, Origins
from loadtests.contestants import MAKERS, is_present
from loadtests.ports import free_ports
from loadtests.processes import BenchError, child, wait_until_answering
from loadtests.report import RESULTS

FILE = RESULTS / "connections.json"
NAMES = ("crossfade", "nginx")
SPARE = 500  # descriptors of a process beside those of its clients
AT_ONCE = 100  # clients that connect at a time
REQUEST = b"GET /health HTTP/1.1\r\nHost: h\r\nX-Customer-Id: %d\r\n\r\n"
STILL = 1.0  # seconds after which nothing is being tidied up any more


class Cost(msgspec.Struct):
    """Memory in MiB, of all the proxy's processes."""

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
    parser.add_argument("--connections", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, default=FILE, help="where the result goes (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    try:
        allow_descriptors(options.connections + SPARE)
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
    """For this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(f"a process may have {hard} descriptors here (ulimit -Hn), and needs {count}")
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
        contestant = roomy(name, folder, origins, connections)
        log = folder / "proxy.log"
        process = stack.enter_context(child(contestant.argv, frozenset(), log))
        wait_until_answering(process, contestant.port, log)
        before, after = asyncio.run(fill(process.pid, contestant.port, connections))
    each = round((after - before) * 1024 * 1024 / connections)
    return Cost(contestant.name, contestant.version, before, after, each)


def roomy(name: str, folder: Path, origins: Origins, connections: int) -> Contestant:
    """As the bench has it, but with room for so many clients who stay for an hour."""
    contestant = MAKERS[name](folder, origins)
    files = {"crossfade": "bench.yaml", "nginx": "nginx.conf"}
    file = folder / files[name]
    text = file.read_text()
    if name == "nginx":
        if "worker_connections 4096;" not in text:
            raise BenchError("nginx's configuration has changed")
        text = text.replace("worker_connections 4096;", f"worker_connections {connections + SPARE};")
        text = text.replace("http {", "http {\n  keepalive_timeout 1h;", 1)
    else:
        text += f"limits: {{connections: {connections + SPARE}, keep_alive: 1h}}\n"
    file.write_text(text)
    return contestant


async def fill(pid: int, port: int, connections: int) -> tuple[float, float]:
    """The proxy's memory in MiB before and with so many idle clients; warm before."""
    for writer in await connect(port, AT_ONCE):
        writer.close()
    await asyncio.sleep(STILL)
    before = memory_mib(pid)
    writers: list[asyncio.StreamWriter] = []
    while len(writers) < connections:
        writers += await connect(port, min(AT_ONCE, connections - len(writers)))
    await asyncio.sleep(STILL)
    after = memory_mib(pid)
    for writer in writers:
        if writer.is_closing():
            raise BenchError("a connection was not kept")
        writer.close()
    return before, after


async def connect(port: int, count: int) -> list[asyncio.StreamWriter]:
    return list(await asyncio.gather(*(ask(port, n) for n in range(count))))


async def ask(port: int, customer: int) -> asyncio.StreamWriter:
    """A connection that has had one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST % customer)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"an answer was {head!r}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return writer


if __name__ == "__main__":
    raise SystemExit(main())
