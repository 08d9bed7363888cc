"""The proxy that holds the lock of a state, and what it counts."""

from __future__ import annotations

import asyncio
import socket

from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.workers import local_socket
from crossfade.workers.handover import Handover, Offer
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.state_lock import StateLock, socket_of
from tests.dataplane.wire import wait_until

COUNTS = Counts([Cell("r", "v2", "champion", 3, requests=5)])


class Holder:
    """The proxy that holds the state at `database`."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.lock = StateLock(database)
        self.counts = CountsTable()
        self.leaving = LeavingWorkers(self.counts)
        self.asked = 0  # how often it was told to leave
        self.published: list[Snapshot] = []
        sock = local_socket.listen_at(socket_of(self.lock.path))
        self.handover = Handover(self.lock, sock, self.leaving, self.leave)

    def leave(self) -> None:
        self.asked += 1

    def serves(self, *listening: socket.socket) -> None:
        """It serves from these sockets; one of them is as good an admin socket as any."""
        self.handover.release(4.5, listening)
        self.handover.offer = lambda: Offer(self.published.append, 7, listening[0], listening)

    async def knows(self, workers: int) -> None:
        await wait_until(lambda: len(self.leaving.links) == workers, f"{workers} workers are known")

    async def close(self) -> None:
        self.handover.close()
        self.lock.release()
        await asyncio.sleep(0)
