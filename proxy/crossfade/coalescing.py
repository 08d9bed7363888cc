"""Work that is done again and again is done at the same instants, whatever of the process does it (timer coalescing).

Rule: periods end at their multiples on the clock of the event loop. So an idle process is woken once for all that end at one
instant, and not once for each.
"""

from __future__ import annotations

import asyncio

EARLY = 0.1  # of a period: a timer that fires so shortly before the end has fired for this end


def until_next(now: float, period: float) -> float:
    """Seconds from `now` until a period ends."""
    left = period - now % period
    return left if left > EARLY * period else left + period


async def end_of(period: float, after: float = 0.0) -> None:
    """Returns when a period ends, or that many seconds after."""
    await asyncio.sleep(until_next(asyncio.get_running_loop().time() - after, period))
