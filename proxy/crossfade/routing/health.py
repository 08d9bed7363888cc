"""Passive ejection and slow start: what one worker makes of the failures of an endpoint.

Rule: an endpoint that fails `after` requests in a row is out for `time` × how often it was out of
late, and comes back slowly. Ejection only moves requests between the endpoints of one backend: at
most `max_share` of them are out at a time, and never the last, for the fallback and the fuse are
there for a backend that fails altogether. (Envoy's consecutive gateway failures and slow start.)
"""

from __future__ import annotations

from collections.abc import Collection

from crossfade.routing.snapshot import Eject

LONGEST = 300.0  # seconds; the back-off grows no further
FIRST_SHARE = 0.1  # of a full share: never so little that nothing is learnt
ALWAYS = float("-inf")


class Health:
    """One endpoint. Times are monotonic seconds."""

    def __init__(self, began: float = ALWAYS) -> None:
        self.failures = 0  # in a row
        self.ejections = 0  # of late: each makes the next one longer
        self.until: float | None = None  # ejected until then
        self.began = began  # to be asked: what came lately is asked little at first

    def eject(self, rule: Eject, now: float) -> float:
        """Out from now on; for how long. Each `time` it served well makes one ejection forgotten."""
        served = now - self.began
        forgotten = self.ejections if served == float("inf") else int(served // rule.time)
        self.ejections = max(self.ejections - forgotten, 0) + 1
        lasts = min(rule.time * self.ejections, LONGEST)
        self.until = now + lasts
        self.failures = 0
        return lasts

    def lapse(self, now: float) -> None:
        """Back, if the ejection's time is over."""
        if self.until is not None and now >= self.until:
            self.come_back(now)

    def come_back(self, now: float) -> None:
        self.until = None
        self.failures = 0
        self.began = now


def is_due(health: Health, rule: Eject, peers: Collection[Health]) -> bool:
    """Is this endpoint to be ejected? `peers` are the endpoints, with itself, that pass their probes."""
    if health.until is not None or health.failures < rule.after:
        return False
    out = sum(peer.until is not None for peer in peers)
    allowed = min(max(int(len(peers) * rule.max_share), 1), len(peers) - 1)
    return out < allowed


def share(health: Health, over: float, now: float) -> float:
    """Of a full share, 0.1 to 1: it grows evenly over so many seconds from when the endpoint began."""
    served = now - health.began
    if served >= over:
        return 1.0
    return max(FIRST_SHARE, served / over)
