"""How long an exchange waits for its peers, and back-pressure from one side to the other.

Rule: a side that does not read stops the other side from being read, and a timeout limits how long it may do so.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from crossfade.dataplane.flow import PEER
from crossfade.dataplane.idle import first_look, idle_deadline
from crossfade.dataplane.plane import Plane
from crossfade.dataplane.state import ExchangeState

_CLOCK: Final = monotonic  # bound when it is built


class PacedState(ExchangeState):
    plane: Plane  # set by the code that creates the exchange
    __slots__ = tuple(__annotations__)

    def await_first_byte(self) -> None:
        """Start the first-byte timeout: the proxy now waits for the backend."""
        deadline = _CLOCK() + self.answering.first_byte_timeout
        self.deadline = deadline if deadline < self.total_deadline else self.total_deadline

    def idle_from_now(self) -> None:
        self.deadline = idle_deadline(self, self.plane.now)

    def on_upstream_writable(self, writable: bool) -> None:
        """Back-pressure: stop reading from the client while the backend does not read.

        The first-byte timeout also limits how long the backend may take nothing.
        """
        self.client.set_paused(PEER, not writable)
        if self.answer is None and not self.request_done:
            self.deadline = self.total_deadline if writable else first_look(self)

    def on_client_writable(self, writable: bool) -> None:
        """Back-pressure: stop reading from the backend while the client does not read.

        The backend's idle timeout also limits how long the client may take nothing.
        """
        self.client_stalls = not writable
        if self.upstream is not None:
            self.upstream.set_paused(PEER, not writable)
        if self.answer is not None:
            self.idle_from_now()
