"""Marks near the present, for the question whether a fault has just begun (stats.latest).

The marks of restarted tests (stats.restarts) are too far apart for it: a tenth of all requests. These are not part of a test, so they may
be dropped. Their ages grow by a constant factor, so that a part of any length has a mark near its beginning.
"""

from __future__ import annotations

from crossfade.rollout.strata import Mark

GAP = 20  # requests of the challenger between marks
_GROWTH = 1.6  # of the ages of neighbours at most, if requests come one by one


def is_latest_due(n: int, latest: list[Mark]) -> bool:
    """`n`: requests of the challenger in the stratum."""
    return n >= (latest[-1].n if latest else 0) + GAP


def with_latest(latest: list[Mark], mark: Mark) -> list[Mark]:
    """The marks with one more, and without those whose neighbours are near each other."""
    out = [*latest, mark]
    for i in range(len(out) - 2, 0, -1):
        if mark.n - out[i - 1].n <= _GROWTH * max(mark.n - out[i + 1].n, GAP):
            del out[i]
    return out
