"""CPU time of a process and all its descendants, from /proc (Linux).

Time of a child that ended and was waited for is in its parent's `cutime` and `cstime`, so the sum over
the living tree, with those, never loses what a short-lived child used. Resolution: a clock tick, 10 ms.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """`ticks`: user and system time in clock ticks, its ended children's included."""

    pid: int
    parent: int
    ticks: int


def parse_stat(text: str) -> Process:
    """One line of /proc/PID/stat (proc(5)). The name, in brackets, may hold spaces and brackets itself."""
    pid, _, rest = text.partition(" (")
    fields = rest[rest.rindex(")") + 2 :].split()
    return Process(int(pid), parent=int(fields[1]), ticks=sum(int(field) for field in fields[11:15]))


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


def cpu_seconds(root: int, proc: Path = PROC) -> float:
    alive = processes(proc)
    return sum(alive[pid].ticks for pid in family(root, alive)) / os.sysconf("SC_CLK_TCK")
