"""The access log: one line of JSON for each logged request, written outside the event loop.

Rule: the log never delays a request. A line is encoded when the exchange ends, waits in bounded memory, and
is written to the file by a separate thread. If the disk is full or the reader of a pipe is slow, lines are
lost, and every lost line is counted. Failures of a model or of the proxy are always logged, also outside the
sample.
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

HELD_LIMIT = 4 * 1024 * 1024  # bytes of lines waiting to be written, in one worker
LONGEST_TARGET = 1024  # characters
LONGEST_METHOD = 32
PIECE = 256 * 1024  # bytes per write
PIPE_PIECE = select.PIPE_BUF  # largest atomic write: workers share the pipe, and their lines must not mix
CLOSING = 1.0  # seconds to write the last lines when the worker ends
STDOUT = 1
SOURCES = {stage: f"{FAILURES[stage].source}/{stage}" for stage in FAILURES}


class Line(msgspec.Struct):
    """`time`: when the request began. Durations are in seconds. Sizes are bytes of the bodies, without heads."""

    time: datetime
    request_id: str
    client: str
    method: str | None = None
    target: str | None = None
    route: str | None = None
    backend: str | None = None  # the assigned backend
    role: str | None = None
    ledger_version: int | None = None
    keyed: bool | None = None  # whether the request had a sticky key
    answered_by: str | None = None
    endpoint: str | None = None
    status: int = 0
    failures: tuple[str, ...] = ()  # source/stage in order, including failures that were retried
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    duration: float = 0.0
    queued: float | msgspec.UnsetType = (
        msgspec.UNSET
    )  # the wait for a place in flight, before the duration begins


ENCODE = msgspec.json.Encoder().encode


def line_of(outcome: Outcome, query: bool) -> Line:
    request, assigned, route = outcome.request, outcome.assigned, outcome.route
    duration = outcome.ended_at - outcome.started_at
    line = Line(
        datetime.fromtimestamp(time() - duration - outcome.queued, UTC),
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
    if outcome.queued:
        line.queued = round(outcome.queued, 6)
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
    """One worker's lines that wait to be written. `lost` counts lines dropped because HELD_LIMIT was reached."""

    def __init__(self, spec: AccessLog) -> None:
        self.spec = spec
        self.waiting: list[bytes] = []
        self.taken = 0  # bytes accepted since the start
        self.lost = 0
        self.batches: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self.file = LogFile(spec.to)
        # A daemon thread: a pipe reader that stalls for ever must not stop the worker from ending.
        self.thread = Thread(target=self.file.write_all, args=(self.batches,), name="access-log", daemon=True)
        self.thread.start()

    def wants(self, status: int, stages: tuple[Stage, ...]) -> bool:
        """Whether to log this exchange: it is in the sample, or something failed. Call it once per exchange."""
        return random() < self.spec.sample or is_failure(status, stages)

    def exchange(self, outcome: Outcome) -> None:
        self.add(line_of(outcome, self.spec.query))

    def refusal(self, refusal: RequestRefused, client: bytes, request_id: bytes) -> None:
        """Log a request that was refused before an exchange began."""
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
        encoded = ENCODE(line) + b"\n"
        self.taken += len(encoded)
        self.waiting.append(encoded)

    def flush(self) -> int:
        """Hand the waiting lines to the thread. Returns the number of lines lost since the last call."""
        if self.waiting:
            self.batches.put(self.waiting)
            self.waiting = []
        lost, self.lost = self.lost + self.file.take_lost(), 0
        return lost

    def close(self) -> int:
        """Let the thread end after its last batch. Returns the number of lines lost since the last `flush`."""
        lost = self.flush()
        self.batches.put(None)
        return lost

    async def closed(self) -> None:
        """Close, and wait at most CLOSING seconds for the last lines."""
        self.close()  # lines lost from here on are not counted
        end = monotonic() + CLOSING
        while self.thread.is_alive() and monotonic() < end:
            await asyncio.sleep(0.01)


class LogFile:
    """The file, as used by the writing thread. It opens at the first line, and again after a log rotation."""

    def __init__(self, to: str) -> None:
        self.path = None if to == "stdout" else to
        self.fd = STDOUT if to == "stdout" else -1
        self.piece = PIECE
        self.done = 0  # bytes written or lost since the start; read by the event loop
        self.lost = 0  # lines since the start
        self.reported = 0  # lost lines already reported
        self.whole = 0  # complete lines written of the current batch
        self.ends_mid_line = False  # whether the last line was written only in part
        self.failing = False

    def take_lost(self) -> int:
        """Lines lost since the last call. The event loop calls it: it alone writes `reported`, the thread alone `lost`."""
        lost = self.lost
        new, self.reported = lost - self.reported, lost
        return new

    def write_all(self, batches: SimpleQueue[list[bytes] | None]) -> None:
        while (batch := batches.get()) is not None:
            self.lost += len(batch) - self.write(batch)
            self.done += sum(map(len, batch))
        if self.path is not None and self.fd >= 0:
            os.close(self.fd)

    def write(self, lines: list[bytes]) -> int:
        """Write the lines. Returns how many were written completely."""
        self.whole = 0
        try:
            self.open()
            for piece in pieces(lines, self.piece):
                if self.ends_mid_line:
                    self.write_piece(b"\n")
                    self.whole = 0
                self.write_piece(piece)
        except OSError as error:
            if not self.failing:
                log.error("access log cannot be written, lines are lost: %s", error)
            self.failing = True
        else:
            if self.failing:
                log.warning("access log can be written again")
            self.failing = False
        return self.whole

    def open(self) -> None:
        """Open the file if needed, again after a log rotation. Raises OSError."""
        if self.path is not None and self.fd >= 0 and self.moved(self.path):
            os.close(self.fd)
            self.fd, self.ends_mid_line = -1, False
        if self.path is not None and self.fd < 0:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.piece = PIPE_PIECE if stat.S_ISFIFO(os.fstat(self.fd).st_mode) else PIECE

    def moved(self, path: str) -> bool:
        """Whether the path no longer names the open file, as after a log rotation."""
        with contextlib.suppress(OSError):
            there, ours = os.stat(path), os.fstat(self.fd)
            return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
        return True

    def write_piece(self, data: bytes) -> None:
        """Write all bytes of the piece. Raises OSError."""
        while data:
            try:
                count = os.write(self.fd, data)
            except BlockingIOError:  # the pipe was inherited in non-blocking mode
                select.select([], [self.fd], [])
                continue
            self.whole += data.count(b"\n", 0, count)
            self.ends_mid_line = data[count - 1 : count] != b"\n"
            data = data[count:]


def pieces(lines: list[bytes], most: int) -> Iterator[bytes]:
    """Join complete lines into pieces of at most `most` bytes. A longer line is a piece of its own."""
    start = size = 0
    for at, line in enumerate(lines):
        if at > start and size + len(line) > most:
            yield b"".join(lines[start:at])
            start, size = at, 0
        size += len(line)
    if start < len(lines):
        yield b"".join(lines[start:])
