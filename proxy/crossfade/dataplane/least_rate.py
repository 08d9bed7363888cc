"""The least rate of a client, in bytes a second over a window (`limits.min_rate`, `min_rate_grace`).

A body that comes at one byte a second is never idle, and holds a place in flight for days. Rule: the rate is measured
only while the client alone decides it. A body counts by its payload, and not in windows in which the proxy did not
read. An answer counts while bytes wait for the client, so a model that says little breaks no rate.
"""

from __future__ import annotations


class LeastRate:
    def __init__(self, per_second: int, window: float, now: float, amount: int) -> None:
        self.per_second = per_second
        self.window = window
        self.begin(now, amount, 0)

    def begin(self, now: float, amount: int, pauses: int) -> None:
        """Begin a window. `amount` grows by the bytes that move, `pauses` by one where the proxy stops reading."""
        self.since, self.end = now, now + self.window
        self.amount, self.pauses = amount, pauses

    def is_kept(self, now: float, amount: int, pauses: int = 0) -> bool:
        """False once the rate was too low in a whole window."""
        if now < self.end:
            return True
        kept = pauses != self.pauses or amount - self.amount >= self.per_second * (now - self.since)
        self.begin(now, amount, pauses)
        return kept
