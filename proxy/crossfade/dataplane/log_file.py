"""The file of the access log, as the writing thread uses it. It opens at the first line, and again after a log rotation."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
from collections.abc import Iterator
from queue import SimpleQueue

log = logging.getLogger("crossfade.access_log")

PIECE = 256 * 1024  # bytes per write
PIPE_PIECE = select.PIPE_BUF  # largest atomic write: workers share the pipe, and their lines must not mix
STDOUT = 1


class LogFile:
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
