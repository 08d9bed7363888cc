"""Requests that still wait, long after a latency limit: each block of time in which they wait has them.

A slow answer counts once, in the block in which it was routed. A challenger that hangs may hold all of its clients, so
that no more requests come, and one block would have all there is. A pause of an instance ends; what goes on for many
blocks is no burst.
"""

from __future__ import annotations

from crossfade.rollout.evidence import Evidence
from crossfade.stats.blocks import BLOCK


def linger(evidence: Evidence, second: int) -> bool:
    """Add the requests that wait to the block of this second, once for each block. Returns whether there are any.

    `second`: of the monotonic clock.
    """
    stratum, block = evidence.strata[-1], second // BLOCK
    if block <= stratum.lingered:
        return False
    stratum.lingered = block
    found = False
    for kind in evidence.limits.keys() & stratum.events.keys():
        events = stratum.events[kind]
        for here, side, cell in (
            (True, events.challenger, stratum.challenger),
            (False, events.champion, stratum.champion),
        ):
            waiting = side.n - cell.duration.count
            if waiting > 0:
                stratum.add_block(kind, second, (waiting, waiting), here)
                found = True
    return found
