"""What one control process holds from its start to its end, and from whom it has it: docs/succession.md.

Rule: until its workers serve, nothing is taken from those who serve. A start that fails closes what it has, and
the proxy before, or the workers of one that died, go on.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable

from crossfade.control.background import Background
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import CountsTable
from crossfade.workers import local_socket, sockets, systemd
from crossfade.workers.handover import Handover, Offer, Successor
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.start_error import StartError
from crossfade.workers.state_lock import StateLock, socket_of
from crossfade.workers.takeover import Predecessor, ask

NO_SOCKETS = (errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL)  # of a file system that has none

log = logging.getLogger("crossfade.workers")


class Succession:
    """Call `begin`, `predecessor_leaves`, `publish`, `serving`, then one of `end` and `leave`; or `give_up`."""

    lock: StateLock | None = None  # None: the state is in memory
    handover: Handover | None = None  # None: nobody can follow
    predecessor: Predecessor | None = None  # the running proxy in a takeover

    def __init__(self, counts: CountsTable, on_leave: Callable[[], None]) -> None:
        """`counts`: of all workers, also those of the proxy before. `on_leave`: see `Handover`."""
        self.counts = counts
        self.on_leave = on_leave
        self.leaving = LeavingWorkers(counts)
        self.inherited: list[socket.socket] = []  # from the proxy before, its workers, or systemd
        self.places: int | None = None  # the descriptor of the table of places, from the proxy before
        self.admits = True  # a successor, once our workers serve
        self.background = Background()

    async def begin(self, database: str | None, taking_over: bool) -> None:
        """Get the lock and the sockets. Raises StartError."""
        if taking_over:
            await self._ask(database)
        self.inherited += systemd.from_systemd()
        if database is None:
            return
        if self.predecessor is not None:
            self.lock = StateLock(database, self.predecessor.lock_fd)
            self.inherited += [self.predecessor.admin, *self.predecessor.listening]
            self.places = self.predecessor.places
            self.handover = Handover(self.lock, self.predecessor.sock, self.leaving, self.on_leave)
        else:
            self.lock = StateLock(database)
            await self._listen(self.lock)

    async def _ask(self, database: str | None) -> None:
        if database is None:
            raise StartError("--takeover needs a state on disk; this one is in memory")
        self.predecessor = await ask(database, self.counts, self.leaving.logged)
        if self.predecessor is None:
            log.warning("--takeover: no running proxy holds the state; starting without one")

    async def _listen(self, lock: StateLock) -> None:
        """A folder without sockets, as some mounts of containers are, is as good as a state in memory."""
        path = socket_of(lock.path)
        try:
            sock = local_socket.listen_at(path)
        except OSError as error:
            if error.errno not in NO_SOCKETS:
                raise StartError(f"cannot listen on {path}: {error}") from error
            log.warning("no proxy can follow this one, and its workers end with it: no socket at %s", path)
        else:
            self.handover = Handover(lock, sock, self.leaving, self.on_leave)
            self.inherited += await self.handover.gather()
            self.places, self.handover.places = self.handover.places, None

    def take_places(self) -> int | None:
        places, self.places = self.places, None
        return places

    @property
    def lock_file(self) -> str | None:
        """Where workers find the next holder; None if nobody can follow."""
        return self.lock.path if self.lock and self.handover else None

    @property
    def successor(self) -> Successor | None:
        """That asked this proxy to leave."""
        return self.handover.successor if self.handover is not None else None

    def admit_nobody(self) -> None:
        """This proxy ends: nobody can take over any more. One that has been asked to leave still leaves."""
        self.admits = False
        if self.handover is not None:
            self.handover.offer = None

    def go_on(self, pids: Iterable[int]) -> None:
        """The successor has failed: what it got is ours alone again."""
        assert self.handover is not None
        self.handover.go_on()
        self.name_workers(pids)

    @property
    def has_missing(self) -> bool:
        """Whether workers of the proxy before may listen that did not hand over their sockets."""
        return self.handover is not None and bool(self.handover.missing())

    @property
    def generation(self) -> int:
        """The highest of the snapshots that others' workers serve from; ours are to be above it."""
        known = [link.status.generation for link in self.leaving.links]
        return max([self.predecessor.generation if self.predecessor else 0, *known])

    def name_workers(self, pids: Iterable[int]) -> None:
        if self.handover is not None:
            self.handover.name_workers(pids)

    async def predecessor_leaves(self) -> None:
        """Returns when the running proxy has closed the state. Raises StartError."""
        if self.predecessor is not None and self.handover is not None:
            await self.predecessor.leave()
            self.handover.listen()

    def publish(self, snapshot: Snapshot | None) -> None:
        """To the workers of the running proxy."""
        if self.predecessor is not None and snapshot is not None:
            self.predecessor.publish(snapshot)

    def serving(self, drain: float, pids: Iterable[int], offer: Callable[[], Offer]) -> None:
        """Our workers serve: those of the proxy before end, and a successor can take over from now on."""
        if self.handover is None:
            return
        if self.predecessor is not None:
            self.predecessor.serving()
        self.handover.release(drain, offer().listening)
        self.handover.offer = offer if self.admits else None
        self.name_workers(pids)
        self.background.spawn(self.handover.end_missing())

    def end(self) -> None:
        """Our workers have ended in good order."""
        self._close()
        if self.lock is not None:
            self.lock.release()

    def leave(self) -> None:
        """A successor serves."""
        self._close()
        if self.lock is not None:
            self.lock.leave()

    def give_up(self) -> None:
        """The start has failed: who served goes on."""
        if self.lock is not None and self.handover is not None and self.predecessor is None:
            self.name_workers(())
            remains = [*self.handover.missing(), *self.leaving.links]
            self._close()
            (self.lock.leave if remains else self.lock.release)()
        else:
            self.leave()

    def _close(self) -> None:
        sockets.close(self.inherited)
        if self.places is not None:
            os.close(self.places)
        self.background.cancel()
        if self.predecessor is not None:
            self.predecessor.close()
        if self.handover is not None:
            self.handover.close()
        else:
            self.leaving.close()
