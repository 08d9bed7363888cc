"""The successor's side of a takeover (`run --takeover`): the running proxy's descriptors, and then its state.

Rule: the running proxy decides and serves until this one has bound all and started its workers; it goes on if this
one ends before they serve. Each wait is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import msgspec

from crossfade.control.background import Background
from crossfade.control.database import path_of
from crossfade.control.logged_batches import LoggedBatches
from crossfade.control.store import Store
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import CountsTable
from crossfade.workers import local_socket
from crossfade.workers.messages import (
    ANSWER,
    FROM_HOLDER,
    Hello,
    Holdings,
    Leave,
    Publish,
    Refusal,
    Serving,
    read_frame,
    write_frame,
)
from crossfade.workers.start_error import StartError
from crossfade.workers.state_lock import lock_file_of, socket_of

ANSWER_WITHIN = 10.0  # seconds
LEAVE_WITHIN = 30.0  # seconds; the running proxy finishes what it writes


class Predecessor:
    """The running proxy. Call `leave`, `publish`, `serving` in this order, then `close`."""

    def __init__(
        self,
        holdings: Holdings,
        descriptors: list[int],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        counts: CountsTable,
        logged: LoggedBatches,
    ) -> None:
        """Its counts are added to `counts`, and its rows to `logged`."""
        self.pid = holdings.pid
        self.generation = holdings.generation
        self.lock_fd = descriptors[0]
        self.places = descriptors.pop() if holdings.places else None  # the descriptor of the table of places
        self.sock, self.admin, *self.listening = (socket.socket(fileno=fd) for fd in descriptors[1:])
        for sock in (self.sock, self.admin, *self.listening):
            sock.setblocking(False)
        self.reader, self.writer = streams
        self.counts = counts
        self.logged = logged
        self.background = Background()

    async def leave(self) -> None:
        """Returns when it decides no more, and has closed the state. Raises StartError."""
        write_frame(self.writer, Leave())
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                await self._take_counts()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise StartError(
                f"--takeover: the running proxy (pid {self.pid}) did not leave: {error!r}"
            ) from error

    def publish(self, snapshot: Snapshot) -> None:
        """To its workers: they must not serve what the journal no longer has."""
        write_frame(self.writer, Publish(snapshot))

    def serving(self) -> None:
        """Our workers serve: it may end. Its workers come to us as detached ones."""
        write_frame(self.writer, Serving())
        self.background.spawn(self._take_last_counts())

    async def _take_last_counts(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._take_counts()
        self.writer.close()

    async def _take_counts(self) -> None:
        left = FROM_HOLDER.decode(await read_frame(self.reader))
        self.counts.add(left.counts)
        self.logged.add(left.logged)

    def close(self) -> None:
        """If its workers are still its own, it goes on."""
        self.background.cancel()
        self.writer.close()


async def ask(database: str, counts: CountsTable, logged: LoggedBatches) -> Predecessor | None:
    """The running proxy, which goes on until it is told to leave; None if there is none. Raises StartError."""
    path = socket_of(lock_file_of(database))
    try:
        sock = local_socket.connect_to(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise StartError(f"--takeover: cannot connect to {path}: {error}") from error
    with sock:
        try:
            local_socket.send(sock, msgspec.json.encode(Hello("successor", os.getpid(), places=True)))
            async with asyncio.timeout(ANSWER_WITHIN):
                data, descriptors = await local_socket.receive(sock)
        except OSError as error:
            said = str(error) or f"no answer within {ANSWER_WITHIN:g} s"
            raise StartError(f"--takeover: the running proxy stays: {said}") from error
        answer = ANSWER.decode(data)
        if isinstance(answer, Refusal):
            raise StartError(f"--takeover: {answer.reason}")
        streams = await asyncio.open_unix_connection(sock=sock.dup())
    return Predecessor(answer, descriptors, streams, counts, logged)


def rehearse(state: str) -> None:
    """Raises StoreError if this version cannot use the state: then the running proxy stays."""
    path = path_of(state)
    if path is not None and os.path.exists(path):
        with contextlib.closing(Store.read(path)) as store:
            store.records()
