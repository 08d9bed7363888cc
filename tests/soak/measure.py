"""Memory, descriptors and logs of the proxy's processes, and how late this process runs itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from tests.soak.laws import DESCRIPTORS, KILLED, STARVED
from tests.soak.proxy import Proxy
from tests.soak.record import Fault, Record, Usage, Violation

EVERY = 2.0  # seconds between two measurements
LATE = 1.0  # seconds by which a wake-up may be late before answers may be

# What may be in a log, by the faults that explain it.
LINES: tuple[tuple[str, frozenset[str]], ...] = (
    (r"worker \d+ \(pid \d+\) ended", frozenset({KILLED, "worker terminated", DESCRIPTORS, STARVED})),
    (r"worker \d+ \(pid \d+\) hangs", frozenset({STARVED})),
    (r"the successor ended before", frozenset({"takeover"})),
    (r"configuration not reloaded", frozenset({"broken file", "edit refused", DESCRIPTORS})),
    (r"routing\.yaml:\d+", frozenset({"broken file"})),
    (
        r"was deleted while|not in the journal|state file|decisions? (lost|cannot|not)|cannot be written|cannot write",
        frozenset({"disk full", DESCRIPTORS}),
    ),
    (
        r"UVProcessTransport is open in __dealloc__",
        frozenset({DESCRIPTORS}),
    ),  # uvloop's own, of a failed spawn
    (r"Too many open files|cannot be started|could not be started|accept", frozenset({DESCRIPTORS})),
)


async def watch_usage(proxy: Proxy, record: Record) -> None:
    while True:
        for each in await asyncio.to_thread(proxy.processes):
            with contextlib.suppress(OSError, ValueError, IndexError):
                folder = Path(f"/proc/{each.pid}")
                (line,) = [x for x in (folder / "status").read_text().splitlines() if x.startswith("VmRSS:")]
                descriptors = sum(1 for _ in (folder / "fd").iterdir())
                usage = Usage(each.role, time.time(), int(line.split()[1]) / 1024, descriptors)
                record.usage.append(usage)
        await asyncio.sleep(EVERY)


async def watch_lateness(record: Record) -> None:
    """This process is a client and the models: where it is late, so are they."""
    while True:
        before = time.time()
        await asyncio.sleep(0.1)
        if time.time() - before > LATE:
            record.faults.append(Fault(STARVED, "", before, time.time()))


def log_violations(lines: Sequence[str], faults: list[Fault]) -> Iterator[Violation]:
    """Errors and tracebacks in a log that no fault explains. Of a traceback, the error at its end is told."""
    kinds = {fault.kind for fault in faults}
    for number, line in enumerate(lines):
        said = line
        if line.startswith("Traceback"):
            said = next((each for each in lines[number + 1 :] if not each.startswith(" ")), line)
        elif " ERROR " not in line and " CRITICAL " not in line:
            continue
        if not any(re.search(pattern, said) and kinds & allowed for pattern, allowed in LINES):
            yield Violation("log", time_of(line), said.strip()[:500])


def time_of(line: str) -> float:
    """When a line was logged; now if it does not say so."""
    try:
        return datetime.fromisoformat(line[:19]).timestamp()
    except ValueError:
        return time.time()
