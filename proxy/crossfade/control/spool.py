"""The spool: a file beside the database with the decisions that are in force and that the database did not take.

Rule: lines are only appended, and synced before `add` returns. A line that a crash cut short has no valid checksum and is
ignored. Room for the first lines is reserved at the start, so that a full disk does not refuse an abort. When the database has
taken the decisions, the lines are overwritten with zeros; a line that is left is recognised by its decision's hash.
"""

from __future__ import annotations

import logging
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from crossfade.control.database import PRIVATE
from crossfade.control.route_record import RouteRecord
from crossfade.control.views import Decision

log = logging.getLogger("crossfade.spool")

RESERVED = 1 << 18  # bytes of the file from the start on


class Spooled(msgspec.Struct):
    """A decision, and the state that it leads to without its evidence; no record means the route is gone."""

    decision: Decision
    record: RouteRecord | None


class Spool:
    """Every method but `read` raises OSError. `held`: how many lines count."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.lines: list[bytes] = []
        self.end = 0  # where the next line begins

    @property
    def held(self) -> int:
        return len(self.lines)

    def open(self) -> None:
        """Make the file if there is none. For its owner only."""
        self.close()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
        os.fchmod(self.fd, PRIVATE)
        if os.fstat(self.fd).st_size < RESERVED:
            with suppress(OSError):  # on a full disk; then an abort may find no room
                os.posix_fallocate(self.fd, 0, RESERVED)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self) -> list[Spooled]:
        """What a proxy that died has left, in order."""
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.error("%s cannot be read: %s", self.path, error.strerror)
            return []
        self.lines, self.end = [], 0
        out, at = [], 0
        for line in content.split(b"\n"):
            at += len(line) + 1
            found = decode(line)
            if found is not None:
                out.append(found)
                self.lines.append(line + b"\n")
                self.end = at
            elif line.strip(b"\0"):
                log.error("%s: a line of %d bytes is damaged and is ignored", self.path, len(line))
        return out

    def add(self, items: Sequence[Spooled]) -> None:
        """On disk when this returns. If the file is gone, it is made again with all lines."""
        new = [encode(item) for item in items]
        missing = new
        if not self._is_open():
            self.open()
            self.end, missing = 0, self.lines + new
        data = b"".join(missing)
        _write_all(self.fd, data, self.end)
        os.fdatasync(self.fd)
        self.end += len(data)
        self.lines += new

    def clear(self) -> None:
        """The database has the decisions."""
        if self.lines and self._is_open():
            _write_all(self.fd, bytes(self.end), 0)
            os.fdatasync(self.fd)
            os.ftruncate(self.fd, RESERVED)
        self.lines, self.end = [], 0

    def _is_open(self) -> bool:
        """Whether the file that is open still has its name."""
        if self.fd < 0:
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except FileNotFoundError:
            return False


def _write_all(fd: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        n = os.pwrite(fd, rest, at)
        rest, at = rest[n:], at + n


def encode(item: Spooled) -> bytes:
    """One line. The compressed data ends with a checksum."""
    return b64encode(zlib.compress(msgspec.msgpack.encode(item))) + b"\n"


def decode(line: bytes) -> Spooled | None:
    """None for what is no whole line."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(b64decode(line, validate=True)), type=Spooled)
    except (ValueError, zlib.error, msgspec.DecodeError):
        return None
