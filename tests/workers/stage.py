"""A pool of workers on a stage: the workers are played by the test."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import msgspec

from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.messages import (
    DOWNWARD,
    Closing,
    Drain,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    WorkerOptions,
    read_frame,
    write_frame,
)
from crossfade.workers.place_keeper import PlaceKeeper
from crossfade.workers.pool import WorkerPool
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until

COUNTS = Counts([Cell("r", "v2", "champion", 3, requests=5)])


class Played:
    """A worker process as the pool sees it, and the test at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, pid: int, options: WorkerOptions, passed: list[int]) -> None:
        self.is_connected = False
        self.pid = pid
        self.options = options
        self.passed = passed
        self.returncode: int | None = None
        self.ended = asyncio.Event()
        self.kills = 0
        self.sock = socket.socket(fileno=os.dup(options.seam_fd))

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(sock=self.sock)
        self.is_connected = True

    # ── what the pool calls ───────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        self.kills += 1
        self.end(-signal.SIGKILL)

    async def wait(self) -> int:
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode

    # ── what a worker does ────────────────────────────────────────────────────────────────────

    def report(
        self,
        generation: int = 1,
        counts: Counts | None = None,
        connections: int = 0,
        leaving: bool = False,
    ) -> None:
        load = {"v2": 2}
        told = Report(generation, counts or Counts(), connections, 0.5, load, leaving=leaving)
        write_frame(self.writer, told)

    async def order(self) -> Publish | Closing | Drain | Release | Renew:
        return DOWNWARD.decode(await read_frame(self.reader))

    def end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self.ended.set()
            # A pool that is cancelled while it starts a worker leaves one that has not connected.
            (self.writer if self.is_connected else self.sock).close()


class Stage:
    """A pool of two whose workers are played.

    `started` are all there ever were, `told` the pids at each call of `on_start`; a start raises `fault`.
    """

    def __init__(self, count: int = 2) -> None:
        self.started: list[Played] = []
        self.told: list[list[int]] = []
        self.environments: list[dict[str, str]] = []
        self.fault: Exception | None = None
        self.attempts = 0
        self.table = CountsTable()
        self.leaving = LeavingWorkers(self.table)
        self.sockets = [socket.socket() for _ in range(count)]
        listening = [[(sock, Listening(-1))] for sock in self.sockets]
        options = WorkerOptions(-1, [], lock_file="lock")
        self.pool = WorkerPool(
            listening, options, self.table, self.leaving, self.note_start, 4.0, PlaceKeeper()
        )
        self.running = asyncio.create_task(self.pool.run())

    def note_start(self) -> None:
        self.told.append([status.pid for status in self.pool.workers()])

    async def spawn(self, *command: Any, **options: Any) -> Played:
        """In place of asyncio.create_subprocess_exec."""
        self.attempts += 1
        if self.fault is not None:
            raise self.fault
        given = msgspec.json.decode(command[-1], type=WorkerOptions)
        made = Played(100 + len(self.started), given, options["pass_fds"])
        self.started.append(made)
        self.environments.append(options["env"])
        await made.connect()
        return made

    async def has_started(self, count: int) -> list[Played]:
        await wait_until(
            lambda: len(self.started) == count and len(self.told) == count, f"{count} workers were started"
        )
        return self.started

    async def restarted(self, worker: int, times: int) -> None:
        await wait_until(
            lambda: self.pool.restarts[worker] == times, f"worker {worker} was lost {times} times"
        )

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        for worker in self.started:
            worker.end(0)
        for sock in self.sockets:
            sock.close()
        os.close(self.pool.rates_fd)
        self.pool.keeper.close()
        await asyncio.sleep(0)


async def serving(stage: Stage) -> list[Played]:
    """Both workers, which have reported once that they serve from generation 1."""
    _ = stage.pool.publish(SNAPSHOT)
    workers = list(await stage.has_started(2))
    for worker in workers:
        worker.report()
    await stage.pool.ready()
    return workers
