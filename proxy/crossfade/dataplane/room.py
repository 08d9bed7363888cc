"""The room of one worker for bodies that wait for their route, and what else their inspection needs of the worker."""

from __future__ import annotations

from crossfade.dataplane.runtime import Runtime
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Snapshot


class Room(Runtime):
    """`held_bytes`: what long bodies hold, each above its first 64 KiB; at most `snapshot.held_bytes`."""

    snapshot: Snapshot
    router: Router

    def __init__(self) -> None:
        super().__init__()
        self.held_bytes = 0

    def count_unread(self, route: str, reason: str) -> None:
        """Count a body that the route had to read and could not."""
        raise NotImplementedError
