"""CPU time and memory of a process and all its descendants (Linux).

The CPU time of a child that has ended and was waited for is in `cutime` and `cstime` of its parent, so the
sum over the running processes includes short-lived children. The time of running processes is read from
their CPU clocks, in nanoseconds; that of ended children from /proc, in clock ticks of 10 ms.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_SCHEDULED = 2  # CPUCLOCK_SCHED of the kernel: user and system time together
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """`children_ticks`: user and system time of ended children, in clock ticks."""

    pid: int
    parent: int
    children_ticks: int


def parse_stat(text: str) -> Process:
    """One line of /proc/PID/stat (proc(5)). The name in parentheses may contain spaces and parentheses."""
    pid, _, rest = text.partition(" (")
    fields = rest[rest.rindex(")") + 2 :].split()
    return Process(int(pid), parent=int(fields[1]), children_ticks=sum(int(field) for field in fields[13:15]))


def processes(proc: Path = _PROC) -> dict[int, Process]:
    found = {}
    for stat in proc.glob("[0-9]*/stat"):
        try:
            process = parse_stat(stat.read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process ended after the listing
        found[process.pid] = process
    return found


def process_tree(root: int, alive: dict[int, Process]) -> set[int]:
    """The process and its running descendants."""
    members, new = {root} & set(alive), True
    while new:
        children = {p.pid for p in alive.values() if p.parent in members} - members
        members |= children
        new = bool(children)
    return members


def cpu_seconds(root: int) -> float:
    alive = processes()
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(_own_seconds(pid) + alive[pid].children_ticks / ticks for pid in process_tree(root, alive))


def worker_seconds(root: int) -> float:
    """Of those descendants of a crossfade that are its workers."""
    return sum(_own_seconds(pid) for pid in process_tree(root, processes()) if _is_worker(pid))


def _is_worker(pid: int) -> bool:
    try:
        return b"worker" in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # the process has ended


def _own_seconds(pid: int) -> float:
    """CPU time of all threads, also of ended ones. The clock id is that of clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    except OSError:
        return 0.0  # the process has ended; its parent counts its time


def memory_mib(root: int) -> float:
    """Proportional set size: resident memory, where a page shared by n processes counts 1/n for each."""
    total = 0
    for pid in process_tree(root, processes()):
        try:
            total += parse_rollup((_PROC / str(pid) / "smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / MIB


def parse_rollup(text: str) -> int:
    """The PSS in bytes."""
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
