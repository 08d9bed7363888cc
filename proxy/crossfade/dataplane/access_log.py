"""The access log: one line of JSON for each request that is logged, written off the loop.

Rule: a log never holds up a request. Lines are spelled when the exchange ends, wait in memory that
is bounded, and go to the file from a thread of their own; where the disk is full or the reader of a
pipe is slow, lines are lost, and every loss is counted. What a model or the proxy failed at is
logged whatever the sample.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from random import random
from threading import Thread
from time import monotonic, time
from typing import TYPE_CHECKING

import msgspec

from crossfade.dataplane.outcome import Outcome, is_failure
from crossfade.errors import FAILURES, Stage

if TYPE_CHECKING:
    from crossfade.errors import RequestRefused
    from crossfade.routing.snapshot import AccessLog

log = logging.getLogger("crossfade.access_log")

HELD_LIMIT = 4 * 1024 * 1024  # bytes of lines that wait to be written, in one worker
LONGEST_TARGET = 1024  # characters
LONGEST_METHOD = 32
PIECE = 256 * 1024  # bytes written at a time
PIPE_PIECE = (
    select.PIPE_BUF
)  # what workers that share a pipe can write without cutting into each other's lines
CLOSING = 1.0  # seconds in which the last lines may still be written
STDOUT = 1
SOURCES = {stage: f"{FAILURES[stage].source}/{stage}" for stage in FAILURES}


class Line(msgspec.Struct):
    """Times in seconds, `time` when the request began; sizes in bytes of the bodies alone."""

    time: datetime
    request_id: str
    client: str
    method: str | None = None
    target: str | None = None
    route: str | None = None
    backend: str | None = None  # the one assigned
    role: str | None = None
    ledger_version: int | None = None
    keyed: bool | None = None  # had it a sticky key?
    answered_by: str | None = None
    endpoint: str | None = None
    status: int = 0
    failures: tuple[str, ...] = ()  # source/stage, in order; what was tried again included
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    duration: float = 0.0


ENCODE = msgspec.json.Encoder().encode


def line_of(outcome: Outcome, query: bool) -> Line:
    request, assigned, route = outcome.request, outcome.assigned, outcome.route
    duration = outcome.ended_at - outcome.started_at
    line = Line(
        datetime.fromtimestamp(time() - duration, UTC),
        outcome.request_id.decode("ascii"),
        outcome.client.decode("ascii"),
        request.method[:LONGEST_METHOD].decode("ascii"),
        (request.target if query else request.path)[:LONGEST_TARGET].decode("ascii"),
    )
    line.status = outcome.status
    if outcome.stages:
        line.failures = tuple(map(SOURCES.__getitem__, outcome.stages))
    line.bytes_in = outcome.bytes_in
    line.bytes_out = outcome.bytes_out
    line.duration = round(duration, 6)
    if assigned is None or route is None:
        return line
    line.route = route.spec.name
    line.backend = assigned.backend
    line.role = assigned.role
    line.ledger_version = route.version
    line.keyed = outcome.key is not None
    if outcome.answered_by:
        line.answered_by = outcome.answered_by
        line.endpoint = outcome.endpoint.decode("ascii")
        line.first_byte = round(outcome.first_byte_at - outcome.started_at, 6)
    return line


class AccessLogger:
    """One worker's lines on their way to the file. `lost` counts those that never got there."""

    def __init__(self, spec: AccessLog) -> None:
        self.spec = spec
        self.waiting: list[bytes] = []
        self.taken = 0  # bytes, ever
        self.lost = 0
        self.batches: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self.file = LogFile(spec.to)
        # A daemon: a reader that stalls for ever must not keep the worker from ending.
        self.thread = Thread(target=self.file.write_all, args=(self.batches,), name="access-log", daemon=True)
        self.thread.start()

    def wants(self, status: int, stages: tuple[Stage, ...]) -> bool:
        """Asked once at the end of each exchange: is it in the sample, or did something fail?"""
        return random() < self.spec.sample or is_failure(status, stages)

    def exchange(self, outcome: Outcome) -> None:
        self.add(line_of(outcome, self.spec.query))

    def refusal(self, refusal: RequestRefused, client: bytes, request_id: bytes) -> None:
        """Of what never became an exchange."""
        if random() < self.spec.sample or refusal.status >= 500:
            what = SOURCES[refusal.failure.stage]
            now = datetime.fromtimestamp(time(), UTC)
            line = Line(now, request_id.decode("ascii"), client.decode("ascii"))
            line.status, line.failures = refusal.status, (what,)
            self.add(line)

    def add(self, line: Line) -> None:
        if self.taken - self.file.done > HELD_LIMIT:
            self.lost += 1
            return
        spelled = ENCODE(line) + b"\n"
        self.taken += len(spelled)
        self.waiting.append(spelled)

    def flush(self) -> int:
        """Hand over what waits; the number of lines lost since the last call."""
        if self.waiting:
            self.batches.put(self.waiting)
            self.waiting = []
        lost, self.lost = self.lost + self.file.take_lost(), 0
        return lost

    def close(self) -> int:
        """The thread ends by itself, once it is through. The number of lines lost until now."""
        lost = self.flush()
        self.batches.put(None)
        return lost

    async def closed(self) -> None:
        """Give the last lines a little time."""
        self.close()  # what is lost now, nobody counts any more
        end = monotonic() + CLOSING
        while self.thread.is_alive() and monotonic() < end:
            await asyncio.sleep(0.01)


class LogFile:
    """The thread's side. It opens the file when there is something to write, and anew once that was moved away."""

    def __init__(self, to: str) -> None:
        self.path = None if to == "stdout" else to
        self.fd = STDOUT if to == "stdout" else -1
        self.piece = PIECE
        self.done = 0  # bytes, ever: written or lost; read by the loop
        self.lost = 0  # lines, ever
        self.told = 0
        self.whole = 0  # lines of the batch at hand that are written
        self.torn = False  # the last line was written in part
        self.failing = False

    def take_lost(self) -> int:
        """Called by the loop; each side of the two counters has one writer."""
        lost = self.lost
        fresh, self.told = lost - self.told, lost
        return fresh

    def write_all(self, batches: SimpleQueue[list[bytes] | None]) -> None:
        while (batch := batches.get()) is not None:
            self.lost += len(batch) - self.write(batch)
            self.done += sum(map(len, batch))
        if self.path is not None and self.fd >= 0:
            os.close(self.fd)

    def write(self, lines: list[bytes]) -> int:
        """The number of lines that could be written."""
        self.whole = 0
        try:
            self.open()
            for piece in pieces(lines, self.piece):
                if self.torn:
                    self.write_piece(b"\n")
                    self.whole = 0
                self.write_piece(piece)
        except OSError as error:
            if not self.failing:
                log.error("the access log cannot be written (%s); lines are lost", error)
            self.failing = True
        else:
            if self.failing:
                log.warning("the access log is written again")
            self.failing = False
        return self.whole

    def open(self) -> None:
        """Raises OSError."""
        if self.path is not None and self.fd >= 0 and self.moved(self.path):
            os.close(self.fd)
            self.fd, self.torn = -1, False
        if self.path is not None and self.fd < 0:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.piece = PIPE_PIECE if stat.S_ISFIFO(os.fstat(self.fd).st_mode) else PIECE

    def moved(self, path: str) -> bool:
        """Has logrotate, or somebody, put the file elsewhere?"""
        with contextlib.suppress(OSError):
            there, ours = os.stat(path), os.fstat(self.fd)
            return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
        return True

    def write_piece(self, data: bytes) -> None:
        """All of it. Raises OSError."""
        while data:
            try:
                count = os.write(self.fd, data)
            except BlockingIOError:  # whoever gave us the pipe reads it without blocking, and so must we
                select.select([], [self.fd], [])
                continue
            self.whole += data.count(b"\n", 0, count)
            self.torn = data[count - 1 : count] != b"\n"
            data = data[count:]


def pieces(lines: list[bytes], most: int) -> Iterator[bytes]:
    """Whole lines, joined up to so many bytes."""
    start = size = 0
    for at, line in enumerate(lines):
        if at > start and size + len(line) > most:
            yield b"".join(lines[start:at])
            start, size = at, 0
        size += len(line)
    if start < len(lines):
        yield b"".join(lines[start:])
