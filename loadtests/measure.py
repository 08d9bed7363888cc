"""Running contestants, and one measurement of one of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loadtests.accounting import cpu_seconds, memory_mib
from loadtests.contestant import Contestant, Origins
from loadtests.ports import free_ports
from loadtests.pressure import paced, press, saturating
from loadtests.processes import child, wait_until_answering
from loadtests.report import Load, Sample, Settings
from loadtests.work import Cores, Work

DIRECT = "direct"
WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant that is running as process `pid`; without one it is the origin itself."""

    name: str
    port: int
    pid: int | None


def start_origins(cores: Cores, folder: Path, stack: ExitStack) -> Origins:
    """Origins `a`, `b` and, for mirrors, `c`."""
    origins = dict(zip("abc", free_ports(3), strict=True))
    argv = [sys.executable, "-m", "loadtests.peers.origin", *(f"{n}={p}" for n, p in origins.items())]
    log = folder / "origins.log"
    process = stack.enter_context(child(argv, cores.load, log))
    for port in origins.values():
        wait_until_answering(process, port, log)
    return origins


def start(contestant: Contestant, cores: Cores, folder: Path, stack: ExitStack) -> Entrant:
    log = folder / "printed.log"
    process = stack.enter_context(child(contestant.argv, cores.proxy, log))
    wait_until_answering(process, contestant.port, log)
    return Entrant(contestant.name, contestant.port, process.pid)


def warm_up(entrant: Entrant, work: Work, load: Load, settings: Settings, cores: Cores) -> None:
    press(command(entrant, work, load, settings, WARM_UP_SECONDS), WARM_UP_SECONDS, cores.load)


def measure(entrant: Entrant, work: Work, load: Load, settings: Settings, cores: Cores) -> Sample:
    """One round of one proxy at one work under one load."""
    memory: list[float] = []
    pid, seconds = entrant.pid, settings.seconds

    def look() -> None:
        if pid is not None:
            memory.append(memory_mib(pid))

    before = 0.0 if pid is None else cpu_seconds(pid)
    found = press(command(entrant, work, load, settings, seconds), seconds, cores.load, look)
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


def command(entrant: Entrant, work: Work, load: Load, settings: Settings, seconds: int) -> list[str]:
    if load == "paced":
        return paced(entrant.port, work, seconds)
    return saturating(entrant.port, work, settings.connections, seconds)


def idle_memory(entrants: list[Entrant]) -> Mapping[str, float]:
    """MiB by name."""
    return {e.name: round(memory_mib(e.pid), 1) for e in entrants if e.pid is not None}
