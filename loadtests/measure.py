"""Starts proxies, and measures one proxy for one round."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loadtests.accounting import cpu_seconds, memory_mib
from loadtests.generators import paced, run_generator, saturating
from loadtests.measured_proxy import MeasuredProxy, Origins
from loadtests.ports import free_ports
from loadtests.processes import child, wait_until_answering
from loadtests.report import Load, Sample, Settings
from loadtests.work import Cores, Work

DIRECT = "direct"
_WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Target:
    """A proxy that runs as process `pid`; `pid` is None for the origin itself."""

    name: str
    port: int
    pid: int | None


def start_origins(cores: Cores, folder: Path, stack: ExitStack) -> Origins:
    """Origins `a` and `b`, and `c` for mirrored requests."""
    origins = dict(zip("abc", free_ports(3), strict=True))
    argv = [sys.executable, "-m", "loadtests.peers.origin", *(f"{n}={p}" for n, p in origins.items())]
    log = folder / "origins.log"
    process = stack.enter_context(child(argv, cores.load, log))
    for port in origins.values():
        wait_until_answering(process, port, log)
    return origins


def start(proxy: MeasuredProxy, cores: Cores, folder: Path, stack: ExitStack) -> Target:
    log = folder / "output.log"
    process = stack.enter_context(child(proxy.argv, cores.proxy, log))
    wait_until_answering(process, proxy.port, log, proxy.secure)
    return Target(proxy.name, proxy.port, process.pid)


def warm_up(target: Target, work: Work, load: Load, settings: Settings, cores: Cores) -> None:
    run_generator(_command(target, work, load, settings, _WARM_UP_SECONDS), _WARM_UP_SECONDS, cores.load)


def measure(target: Target, work: Work, load: Load, settings: Settings, cores: Cores) -> Sample:
    """One round: one proxy, one kind of work, one kind of load."""
    memory: list[float] = []
    pid, seconds = target.pid, settings.seconds

    def read_memory() -> None:
        if pid is not None:
            memory.append(memory_mib(pid))

    before = 0.0 if pid is None else cpu_seconds(pid)
    found = run_generator(_command(target, work, load, settings, seconds), seconds, cores.load, read_memory)
    cpu = None if pid is None else cpu_seconds(pid) - before
    return Sample(
        cpu_us=None if cpu is None else round(cpu / found.requests * 1e6, 3),
        per_second=round(found.requests / found.seconds, 1),
        busy=None if cpu is None else round(cpu / found.seconds, 4),
        p50_us=found.p50_us,
        p99_us=found.p99_us,
        memory_mib=round(memory[0], 1) if memory else None,
        errors=found.errors,
    )


def _command(target: Target, work: Work, load: Load, settings: Settings, seconds: int) -> list[str]:
    if load == "paced":
        return paced(target.port, work, seconds)
    return saturating(target.port, work, settings.connections, seconds)


def idle_memory(targets: list[Target]) -> Mapping[str, float]:
    """Memory in MiB by name of the proxy."""
    return {e.name: round(memory_mib(e.pid), 1) for e in targets if e.pid is not None}
