"""Pairs of answers kept as files, for those who want to look at them with their own tools.

Rule: the files of a route are never larger than its cap together: the oldest are deleted before more is written. Where the
disk takes nothing, pairs are dropped and counted; reading and counting go on.

A Parquet file cannot be read before its end is written, so pairs are kept as lines first (`….jsonl.part`), which a killed
observer leaves readable. When such a file is full or old, it is written as Parquet under another name, renamed, and deleted.
Who has it locked writes to it; what nobody has locked is taken over by the next one that begins a file.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import gmtime, monotonic, strftime, time
from urllib.parse import quote

import msgspec

from crossfade.observer.parquet import as_parquet
from crossfade.quality.keep import Keep, KeptPair

log = logging.getLogger("crossfade.observer")

PARTS = 8  # a file has at most the cap divided by this
LARGEST = 16_777_216  # bytes of lines that become one Parquet file: a second or two of work, in which no answer is read
SAID_EVERY = 60.0  # seconds between two log lines about a disk that takes nothing
LINES, UNFINISHED = ".jsonl", ".part"
_NAME = re.compile(r"\d{8}T\d{6}Z-\d{6,}\.(jsonl|parquet)(\.part)?")  # behind the route's name
_ENCODER = msgspec.json.Encoder()


def write_to(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class PairFiles:
    """The files of one route. `write`: appends bytes to a file."""

    def __init__(self, route: str, spec: Keep, write: Callable[[Path, bytes], None] = write_to) -> None:
        self.folder = Path(spec.dir)
        self.prefix = f"{quote(route, safe='')}-"
        self.spec = spec
        self.part = max(spec.max // PARTS, 1)
        if spec.parquet:
            self.part = min(self.part, LARGEST)
        self.write = write
        self.lines: list[bytes] = []
        self.file: Path | None = None
        self.lock: int | None = None  # a descriptor of `file`
        self.size = 0  # of the present file
        self.began = 0.0  # by the monotonic clock
        self.number = 0
        self.said_at: float | None = None

    def add(self, pair: KeptPair) -> None:
        self.lines.append(_ENCODER.encode(pair) + b"\n")

    def flush(self) -> int:
        """Write the pairs since the last call. Returns how many were dropped."""
        lines, self.lines = self.lines, []
        if self.file is not None and monotonic() - self.began > self.spec.rotate:
            self.close()
        dropped, batch, size = 0, list[bytes](), 0
        for line in lines:
            if size and size + len(line) > self.part:
                dropped += self._write(batch, size)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        return dropped + (self._write(batch, size) if batch else 0)

    def close(self) -> None:
        """End the present file. The next pair begins another."""
        file, self.file = self.file, None
        if file is not None and self.spec.parquet:
            self._finish(file)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def _write(self, lines: list[bytes], size: int) -> int:
        if size > self.spec.max:  # one pair, larger than all that may be kept
            return len(lines)
        try:
            path = self._file_for(size)
            self._make_room(size, path)
            self.write(path, b"".join(lines))
        except OSError as error:
            self._say(error)
            self.close()  # what is in it may be half a line: the next one begins a file
            return len(lines)
        self.size += size
        return 0

    def _file_for(self, size: int) -> Path:
        """The present file, or a new one where that is full."""
        if self.file is not None and self.size and self.size + size > self.part:
            self.close()
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.size, self.began = 0, monotonic()
            self.file = self._new_file()
            if self.spec.parquet:
                self.lock = _locked(self.file, os.O_CREAT)
                self._take_over(self.file)
        return self.file

    def _new_file(self) -> Path:
        """A name that no file has, by another observer in the same second."""
        stem = f"{self.prefix}{strftime('%Y%m%dT%H%M%SZ', gmtime(time()))}"
        while True:
            self.number += 1
            path = self.folder / f"{stem}-{self.number:06}{LINES}"
            unfinished = path.with_name(path.name + UNFINISHED)
            if not (path.exists() or unfinished.exists() or _finished(unfinished).exists()):
                return unfinished if self.spec.parquet else path

    def _take_over(self, present: Path) -> None:
        """Finish the files of observers that were killed."""
        for path in self._kept():
            if path != present and path.name.endswith(LINES + UNFINISHED):
                with suppress(FileNotFoundError):  # another observer was quicker
                    lock = _locked(path)
                    if lock is not None:
                        self._finish(path)
                        os.close(lock)

    def _finish(self, lines: Path) -> None:
        """Write them as Parquet; where the disk has no room for that, they stay lines."""
        finished = _finished(lines)
        unfinished = finished.with_name(finished.name + UNFINISHED)
        try:
            if not lines.stat().st_size:
                lines.unlink()
                return
            data = as_parquet(lines)
            self._make_room(len(data), lines)
            unfinished.unlink(missing_ok=True)
            self.write(unfinished, data)
            _sync(unfinished)
            unfinished.replace(finished)
            lines.unlink()
        except Exception as error:  # whatever pyarrow says of it, the pairs are kept
            self._say(error)
            with suppress(OSError):  # it was deleted, say
                unfinished.unlink(missing_ok=True)
                lines.rename(lines.with_name(lines.name.removesuffix(UNFINISHED)))

    def _make_room(self, size: int, present: Path) -> None:
        """Delete the oldest files until the rest and `size` bytes more are within the cap. Raises OSError if they cannot be."""
        kept = [(path.stat(), path) for path in self._kept()]
        found = sorted((status.st_mtime_ns, path.name, status.st_size, path) for status, path in kept)
        total = sum(each[2] for each in found)
        for _, _, held, path in found:
            if total + size <= self.spec.max:
                return
            if path != present:
                path.unlink()
                total -= held
        if total + size > self.spec.max:
            raise OSError(errno.ENOSPC, f"no room below {self.spec.max} bytes")

    def _kept(self) -> list[Path]:
        """The files of this route."""
        at = len(self.prefix)
        return [
            path
            for path in self.folder.iterdir()
            if path.name.startswith(self.prefix) and _NAME.fullmatch(path.name, at)
        ]

    def _say(self, error: Exception) -> None:
        now = monotonic()
        if self.said_at is None or now - self.said_at > SAID_EVERY:
            self.said_at = now
            log.error("pairs cannot be kept in %s: %s", self.folder, error)


def _finished(lines: Path) -> Path:
    return lines.with_name(lines.name.removesuffix(LINES + UNFINISHED) + ".parquet")


def _locked(path: Path, flags: int = 0) -> int | None:
    """A descriptor of the file, which has it locked; None where another process has. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sync(path: Path) -> None:
    """So that a machine that fails leaves no finished file without its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
