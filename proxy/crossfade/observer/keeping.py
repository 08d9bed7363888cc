"""Pairs of answers kept as files of JSON lines, for those who want to look at them with their own tools.

Rule: the files of a route are never larger than its cap together: the oldest are deleted before more is written. Where the
disk takes nothing, pairs are dropped and counted; reading and counting go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import gmtime, monotonic, strftime, time
from urllib.parse import quote

import msgspec

from crossfade.quality.keep import Keep, KeptPair

log = logging.getLogger("crossfade.observer")

PARTS = 8  # a file has at most the cap divided by this
SAID_EVERY = 60.0  # seconds between two log lines about a disk that takes nothing
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
        self.write = write
        self.lines: list[bytes] = []
        self.file: Path | None = None
        self.size = 0  # of the present file
        self.began = 0.0  # by the monotonic clock
        self.number = 0
        self.said_at: float | None = None

    def add(self, pair: KeptPair) -> None:
        self.lines.append(_ENCODER.encode(pair) + b"\n")

    def flush(self) -> int:
        """Write the pairs since the last call. Returns how many were dropped."""
        lines, self.lines = self.lines, []
        dropped, batch, size = 0, list[bytes](), 0
        part = max(self.spec.max // PARTS, 1)
        for line in lines:
            if size and size + len(line) > part:
                dropped += self._write(batch, size)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        return dropped + (self._write(batch, size) if batch else 0)

    def _write(self, lines: list[bytes], size: int) -> int:
        if size > self.spec.max:  # one pair, larger than all that may be kept
            return len(lines)
        try:
            path = self._file_for(size)
            self._make_room(size, path)
            self.write(path, b"".join(lines))
        except OSError as error:
            self._say(error)
            self.file = None  # what is in it may be half a line: the next one begins a file
            return len(lines)
        self.size += size
        return 0

    def _file_for(self, size: int) -> Path:
        """The present file, or a new one where that is full or old."""
        part = self.spec.max // PARTS
        old = monotonic() - self.began > self.spec.rotate
        if self.file is None or old or (self.size and self.size + size > part):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.number += 1
            stamp = strftime("%Y%m%dT%H%M%SZ", gmtime(time()))
            self.file = self.folder / f"{self.prefix}{stamp}-{self.number:06}.jsonl"
            self.size, self.began = 0, monotonic()
        return self.file

    def _make_room(self, size: int, present: Path) -> None:
        """Delete the oldest files until the rest and `size` bytes more are within the cap."""
        found = sorted(
            (status.st_mtime_ns, path.name, status.st_size, path)
            for path in self.folder.glob("*.jsonl")
            if path.name.startswith(self.prefix) and (status := path.stat())
        )
        total = sum(each[2] for each in found)
        for _, _, held, path in found:
            if total + size <= self.spec.max:
                return
            if path != present:
                path.unlink()
                total -= held

    def _say(self, error: OSError) -> None:
        now = monotonic()
        if self.said_at is None or now - self.said_at > SAID_EVERY:
            self.said_at = now
            log.error("pairs cannot be kept in %s: %s", self.folder, error)
