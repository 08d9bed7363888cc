"""What a machine shared with others does to a process: it is slower while others are busy, and now and then it stands still.

A fair scheduler slows all processes alike. What a single process meets is a quota that is used up, a page fault, a virtual machine that is moved.
These are pauses of one process, at random and at the same rate for each.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

_BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"
_BUSY_FOR = (0.2, 4.0)  # seconds
_APART = 1.0  # seconds in the mean between two that begin
_PAUSE = (0.1, 1.0)  # seconds


async def disturb(most: int | None = None) -> None:
    """Until it is cancelled. `most`: processes at the same time; without it, one more than there are cores."""
    most = (len(os.sched_getaffinity(0)) + 1) if most is None else most
    busy: list[asyncio.subprocess.Process] = []
    try:
        while True:
            busy = [process for process in busy if process.returncode is None]
            if len(busy) < most:
                seconds = str(random.uniform(*_BUSY_FOR))
                busy.append(await asyncio.create_subprocess_exec(sys.executable, "-c", _BUSY, seconds))
            await asyncio.sleep(random.expovariate(1 / _APART))
    finally:
        for process in busy:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def pause(pids: Sequence[int], a_minute: float) -> None:
    """Until it is cancelled. `a_minute`: pauses of each process, in the mean."""
    while a_minute:
        await asyncio.sleep(random.expovariate(len(pids) * a_minute / 60))
        pid = random.choice(pids)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(random.uniform(*_PAUSE))
        finally:
            os.kill(pid, signal.SIGCONT)
