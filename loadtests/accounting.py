"""CPU time and memory of a process and all its descendants (Linux).

Time of a child that ended and was waited for is in its parent's `cutime` and `cstime`, so the sum over
the living tree, with those, never loses what a short-lived child used. What the living used is read from
their CPU clocks, to the nanosecond; that of the ended from /proc, in clock ticks of 10 ms.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SCHEDULED = 2  # the kernel's CPUCLOCK_SCHED: user and system time together
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """`waited`: user and system time of its ended children, in clock ticks."""

    pid: int
    parent: int
    waited: int


def parse_stat(text: str) -> Process:
    """One line of /proc/PID/stat (proc(5)). The name, in brackets, may hold spaces and brackets itself."""
    pid, _, rest = text.partition(" (")
    fields = rest[rest.rindex(")") + 2 :].split()
    return Process(int(pid), parent=int(fields[1]), waited=sum(int(field) for field in fields[13:15]))


def processes(proc: Path = PROC) -> dict[int, Process]:
    found = {}
    for stat in proc.glob("[0-9]*/stat"):
        try:
            process = parse_stat(stat.read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the listing and the reading
        found[process.pid] = process
    return found


def family(root: int, alive: dict[int, Process]) -> set[int]:
    """The root and its living descendants."""
    members, grew = {root} & set(alive), True
    while grew:
        children = {p.pid for p in alive.values() if p.parent in members} - members
        members |= children
        grew = bool(children)
    return members


def cpu_seconds(root: int) -> float:
    alive = processes()
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(own_seconds(pid) + alive[pid].waited / ticks for pid in family(root, alive))


def own_seconds(pid: int) -> float:
    """Of all its threads, the ended ones too. The clock's number is what clock_getcpuclockid(3) would give."""
    try:
        return time.clock_gettime((~pid << 3) | SCHEDULED)
    except OSError:
        return 0.0  # it ended just now, and is its parent's to count


def memory_mib(root: int) -> float:
    """Proportional set size: resident memory, and of pages shared by several processes its part of each."""
    total = 0
    for pid in family(root, processes()):
        try:
            total += parse_rollup((PROC / str(pid) / "smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / MIB


def parse_rollup(text: str) -> int:
    """Bytes."""
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
