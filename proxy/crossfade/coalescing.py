"""Work that is done again and again is done at the same instants, whatever of the process does it (timer coalescing).

Rule: periods end at their multiples on the clock of the event loop. So an idle process is woken once for all that end at one
instant, and not once for each.
"""

from __future__ import annotations

import asyncio

LEAST = 0.5  # of a period: a timer may fire a little early, and work that took nearly all of the period is not done again at once


def until_next(now: float, period: float) -> float:
    """Seconds from `now` until a period ends: from half of the period to one and a half."""
    left = period - now % period
    return left if left > LEAST * period else left + period


async def end_of(period: float, after: float = 0.0) -> None:
    """Returns when a period ends, or that many seconds after."""
    await asyncio.sleep(until_next(asyncio.get_running_loop().time() - after, period))
