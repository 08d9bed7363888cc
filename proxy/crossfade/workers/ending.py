"""How a signal ends the proxy: it is not ready from now on, serves for a delay, and drains.

TERM waits for `drain.delay`, so that load balancers look elsewhere before connections are refused. INT does not: it
comes from a terminal. A second signal ends the proxy at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("crossfade")

TICK = 0.25  # seconds between two ticks of the health loop
REPORTED = 0.005  # seconds in which the reports of workers come, which are due at the same instants


class Ending:
    """`stopping`: the control process ends, or leaves the state to a successor; `at_once`: nothing is waited for."""

    def __init__(self) -> None:
        self.is_told = False  # by a signal
        self.stopping = asyncio.Event()
        self.at_once = asyncio.Event()

    def catch_signals(self, on_told: Callable[[], float]) -> None:
        """`on_told` is called once; it returns the seconds in which the proxy serves on."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self.on_signal, sign, on_told)

    def on_signal(self, sign: signal.Signals, on_told: Callable[[], float]) -> None:
        if self.is_told:
            log.info("%s again: ending at once", sign.name)
            self.at_once.set()
            self.stopping.set()
            return
        self.is_told = True
        delay = on_told()
        if sign is signal.SIGTERM and delay:
            log.info("not ready from now on; serving for %g s more", delay)
            asyncio.get_running_loop().call_later(delay, self.stopping.set)
        else:
            self.stopping.set()

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work was done. A signal cancels it."""
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            working.cancel()  # does nothing where it has ended
        await asyncio.wait((working,))
        return not working.cancelled() and working.result() is None

    async def wait(
        self, work: asyncio.Future[None], tick: Callable[[], None], hurry: Callable[[], None]
    ) -> None:
        """Tick until the work is done, and once more for what came at its end. `hurry` is called when nothing is to be waited for any more."""
        hurried = asyncio.ensure_future(self.at_once.wait())
        hurried.add_done_callback(lambda _: hurry() if self.at_once.is_set() else None)
        while not work.done():
            tick()
            await asyncio.wait([work], timeout=TICK)
        hurried.cancel()
        work.result()
        tick()


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within this time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
