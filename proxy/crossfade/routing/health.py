"""Passive ejection and slow start of an endpoint, in one worker.

Rule: an endpoint that fails `after` requests in a row is ejected for `time` × its number of recent
ejections, and then returns with slow start. Ejection only moves requests between the endpoints of one
backend: at most `max_share` of them are ejected at a time, and never the last one. A backend that fails
as a whole is the matter of the fallback and the fuse. (Envoy: consecutive gateway failures, slow start.)
"""

from __future__ import annotations

from collections.abc import Collection

from crossfade.routing.snapshot import Eject

MAX_EJECTION = 300.0  # seconds, of one ejection
MIN_SHARE = 0.1  # of a full share, at the start of slow start; above 0, so that failures show
ALWAYS = float("-inf")


class Health:
    """The health of one endpoint. Times are monotonic seconds."""

    def __init__(self, began: float = ALWAYS) -> None:
        self.failures = 0  # in a row
        self.ejections = 0  # recent ones; each makes the next one longer
        self.until: float | None = None  # when the ejection ends; None: not ejected
        self.began = began  # when it began to get requests; slow start counts from then

    def eject(self, rule: Eject, now: float) -> float:
        """Ejects the endpoint; returns for how long. Each `time` in service takes one off `ejections`."""
        served = now - self.began
        forgotten = self.ejections if served == float("inf") else int(served // rule.time)
        self.ejections = max(self.ejections - forgotten, 0) + 1
        duration = min(rule.time * self.ejections, MAX_EJECTION)
        self.until = now + duration
        self.failures = 0
        return duration

    def end_ejection_if_due(self, now: float) -> None:
        """Ends the ejection if its time is over."""
        if self.until is not None and now >= self.until:
            self.end_ejection(now)

    def end_ejection(self, now: float) -> None:
        self.until = None
        self.failures = 0
        self.began = now


def should_eject(health: Health, rule: Eject, peers: Collection[Health]) -> bool:
    """Whether to eject this endpoint. `peers`: all endpoints that pass their probes, this one included."""
    if health.until is not None or health.failures < rule.after:
        return False
    ejected = sum(peer.until is not None for peer in peers)
    allowed = min(max(int(len(peers) * rule.max_share), 1), len(peers) - 1)
    return ejected < allowed


def share(health: Health, over: float, now: float) -> float:
    """The share of its full traffic, 0.1 to 1; it grows linearly over `over` seconds of service.

    `now` may be before the service began: a late sweep still has the time that it read before a reload.
    """
    served = now - health.began
    if served >= over or not over:
        return 1.0
    return max(MIN_SHARE, served / over)
