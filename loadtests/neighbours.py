"""Other programs on the machine: busy processes that come and go, so that the scheduler pauses single processes."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress

_BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"
_BUSY_FOR = (0.2, 4.0)  # seconds
_APART = 1.0  # seconds in the mean between two that begin


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
