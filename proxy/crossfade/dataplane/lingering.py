"""What a client still sends behind an answer that the proxy gave early: it is read and dropped, within limits.

Rule: closing with unread data makes the kernel send a reset, and the client could lose the answer. Many clients
(http.client, requests, aiohttp) read no answer before they have sent all. So the proxy reads on until the client is
silent or closes, as nginx does (lingering_timeout, lingering_time), and reads no more than a stated amount.
"""

from __future__ import annotations

SILENCE = 5.0  # seconds without a byte
WHOLE = 30.0  # seconds in all
MOST = 64 * 1024 * 1024  # bytes


class Lingering:
    def __init__(self, now: float) -> None:
        self.end = now + WHOLE
        self.dropped = 0

    def deadline(self, now: float) -> float:
        return min(now + SILENCE, self.end)

    def drop(self, size: int) -> bool:
        """Count bytes that are dropped. Returns whether to read on."""
        self.dropped += size
        return self.dropped <= MOST
