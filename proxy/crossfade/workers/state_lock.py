"""One proxy for each state: an exclusive lock on a file beside the database, held until the process ends.

The file names the process that holds the lock, and the workers that may serve, each with its pid and the time of
its start. A holder that ends together with its workers empties the file. So a file that is not empty and not
locked names a proxy that died, and workers that may still serve. Only the user of the proxy can open the file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable

from crossfade.workers.start_error import StartError

MAX_BYTES = 1 << 16  # of the file
STAT_BYTES = 4096  # of /proc/PID/stat; it is read often, and a file object costs several times as much


def lock_file_of(database: str) -> str:
    """Of the database's real path: two names of one state are one state."""
    return f"{os.path.realpath(database)}.lock"


def socket_of(lock_file: str) -> str:
    """Where the holder of this lock listens."""
    return f"{lock_file.removesuffix('.lock')}.sock"


def name_of(pid: int) -> str:
    """Of a process in the lock file: a pid alone may be of another process by now."""
    return f"{pid}:{_started_at(pid)}"


def is_alive(name: str) -> bool:
    """A zombie is not alive: its parent may be dead too."""
    pid, _, started = name.partition(":")
    return bool(started) and _started_at(int(pid)) == started


def _started_at(pid: int) -> str:
    """In clock ticks since the machine's start (proc(5)); "" if the process has ended."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fields = os.read(fd, STAT_BYTES).rpartition(b")")[2].split()
    except OSError:  # it has ended since
        return ""
    finally:
        os.close(fd)
    return "" if fields[0] == b"Z" else fields[19].decode()


def is_held(lock_file: str) -> bool:
    """Whether its last holder did not end in good order."""
    try:
        return os.stat(lock_file).st_size > 0
    except OSError:
        return False


class StateLock:
    """Taken when made. `left_behind`: the workers of a holder before that may still serve."""

    def __init__(self, database: str, received: int | None = None) -> None:
        """`received`: the descriptor of the lock, from a holder that leaves. Raises StartError."""
        self.path = lock_file_of(database)
        self.fd = _take(self.path, database) if received is None else received
        found = os.pread(self.fd, MAX_BYTES, 0).decode("ascii", "replace").split()
        self.left_behind = [word for word in found[1:] if word.replace(":", "").isdecimal()]
        if received is None:
            try:
                self.write(self.left_behind)
            except OSError as error:
                self.leave()
                raise StartError(f"{self.path}: cannot be written: {error.strerror}") from error

    def write(self, workers: Iterable[str]) -> None:
        """Name the holder and its workers. The file is never empty meanwhile: workers would take that for the end."""
        data = " ".join((str(os.getpid()), *workers)).encode() + b"\n"
        os.pwrite(self.fd, data, 0)
        os.ftruncate(self.fd, len(data))

    def leave(self) -> None:
        """Release the lock, and leave the workers named in the file to the next holder."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def release(self) -> None:
        """The workers have ended too. Does nothing after `leave`.

        The file stays: to unlink it would let two processes lock two files of one name.
        """
        if self.fd >= 0:
            os.ftruncate(self.fd, 0)
            self.leave()


def _take(path: str, database: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartError(f"{database}: cannot make the lock file: {error.strerror}") from error
    try:
        os.fchmod(fd, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, MAX_BYTES, 0).decode("ascii", "replace").split()[:1]
        os.close(fd)
        holder = f"another proxy (pid {pid[0] if pid else 'unknown'}) holds {path}"
        raise StartError(f"{database}: {holder}; two proxies cannot share one state") from None
    except OSError as error:
        os.close(fd)
        raise StartError(f"{database}: cannot lock {path}: {error.strerror}") from error
    return fd
