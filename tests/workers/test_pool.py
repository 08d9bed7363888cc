"""The pool as the controller's seam: frames go out at once, and acknowledgements are waited for beside it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crossfade.control.seam import WorkerStatus
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts, CountsTable
from crossfade.workers import pool as pool_module
from crossfade.workers.messages import DOWNWARD, Publish, Report, WorkerOptions, read_frame
from crossfade.workers.pool import WorkerLink, WorkerPool


def snapshot(generation: int) -> Snapshot:
    return Snapshot(
        generation,
        backends={},
        routes=(),
        head_bytes=1,
        head_count=1,
        connections=1,
        head_timeout=1.0,
        keep_alive=1.0,
    )


class Process:
    """A worker process that lives until it is killed."""

    pid = 7
    returncode: int | None = None

    def kill(self) -> None:
        self.returncode = -9


class Peer:
    """The worker's end of the seam."""

    def __init__(self, link: WorkerLink, process: Process, reader: asyncio.StreamReader) -> None:
        self.link = link
        self.process = process
        self.reader = reader

    async def published(self) -> Snapshot:
        message = DOWNWARD.decode(await read_frame(self.reader))
        assert isinstance(message, Publish)
        return message.snapshot

    def report(self, generation: int) -> None:
        self.link.take_report(Report(generation, Counts(), 0, 0.0, {}))


@asynccontextmanager
async def linked(count: int = 2) -> AsyncIterator[tuple[WorkerPool, list[Peer]]]:
    pool = WorkerPool([], WorkerOptions(-1, []), CountsTable(), lambda pids: None)
    peers, writers = [], []
    for number in range(count):
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_unix_connection(sock=ours)
        reader, other = await asyncio.open_unix_connection(sock=theirs)
        process = Process()
        status = WorkerStatus(number, process.pid, True, 0, 0, 0.0, {})
        pool.links[number] = WorkerLink(process, writer, status)  # type: ignore[arg-type]  # what a link uses of it
        peers.append(Peer(pool.links[number], process, reader))
        writers += [writer, other]
    try:
        yield pool, peers
    finally:
        for writer in writers:
            writer.close()


async def test_the_frames_are_written_before_anyone_waits_for_a_worker() -> None:
    async with linked() as (pool, peers):
        acknowledged = pool.publish(snapshot(3))
        assert [(await peer.published()).generation for peer in peers] == [3, 3]
        peers[0].report(3)
        await asyncio.sleep(0)
        assert not acknowledged.done()
        peers[1].report(2)  # a report from before
        await asyncio.sleep(0)
        assert not acknowledged.done()
        peers[1].report(3)
        await acknowledged


async def test_a_later_generation_acknowledges_all_before_it() -> None:
    async with linked(1) as (pool, peers):
        first = pool.publish(snapshot(3))
        second = pool.publish(snapshot(4))
        peers[0].report(4)
        await asyncio.gather(first, second)


async def test_a_worker_that_takes_no_snapshot_is_replaced_though_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "SILENCE", 0.01)
    async with linked() as (pool, peers):
        acknowledged = pool.publish(snapshot(3))
        peers[0].report(3)
        await pool.background.idle()
        assert [peer.process.returncode for peer in peers] == [None, -9]
        assert acknowledged.done()
