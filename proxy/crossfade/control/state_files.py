"""Whether the files of the state are still those that were opened.

Rule: SQLite goes on with the files that it has open when somebody deletes, replaces or cuts them, and reports success. What is
written then is lost at the next start. So the files are looked at before and after each write. A file that was lost is never
written again, and stays as it lies there.
"""

from __future__ import annotations

import os
import struct

from crossfade.control.migrations import APPLICATION

_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes of a database's header
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes of the write-ahead log's header, and of each of its frames

Identity = tuple[int, int]  # device and inode


class LostError(Exception):
    """The state's files are no longer those that were opened; the message names the file."""


class StateFiles:
    """Make it when the database is open, and close it after the database.

    The files stay open here: when a process closes any descriptor of a file, it loses SQLite's locks on the file too.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.known: dict[str, Identity] = {}
        self.database, self.index = (
            os.open(name, os.O_RDONLY | os.O_CLOEXEC) for name in (path, f"{path}-shm")
        )
        self.look()

    def close(self) -> None:
        os.close(self.database)
        os.close(self.index)

    def look(self) -> None:
        """Raises LostError."""
        for name in (self.path, f"{self.path}-wal", f"{self.path}-shm"):
            found = _identity_of(name)
            if found is None:
                raise LostError(f"{name} was deleted")
            if found != self.known.setdefault(name, found):
                raise LostError(f"{name} was replaced by another file")
        self._look_inside()

    def _look_inside(self) -> None:
        header, size = os.pread(self.database, _HEADER, 0), os.fstat(self.database).st_size
        if len(header) < _HEADER:
            raise LostError(f"{self.path} was truncated to {size} bytes")
        (application,) = struct.unpack_from(
            ">I", header, 68
        )  # 0 until SQLite moves the first page from its log
        if not header.startswith(_MAGIC) or application not in (APPLICATION, 0):
            raise LostError(f"{self.path} was overwritten by other content")
        page, (pages,) = _page_size(header), struct.unpack_from(">I", header, 28)
        if size < pages * page:
            raise LostError(f"{self.path} was truncated to {size} bytes")
        # The index of the log, in the -shm file, has the number of frames in the log (SQLite's "WAL-mode File Format").
        (frames,) = struct.unpack("=I", os.pread(self.index, 4, 16))
        logged = os.stat(f"{self.path}-wal").st_size
        if frames and logged < _LOG_HEADER + frames * (_FRAME_HEADER + page):
            raise LostError(f"{self.path}-wal was truncated to {logged} bytes")


def _identity_of(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _page_size(header: bytes) -> int:
    (size,) = struct.unpack_from(">H", header, 16)
    return 65536 if size == 1 else int(size)
