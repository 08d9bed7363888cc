"""The prediction logs of all routes: who may read and write them, and in which thread.

Rule: one thread writes, in the order of the calls; readers have connections of their own. A disk that is slow or full stops
neither serving nor deciding.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import time, time_ns
from typing import NamedTuple, TypeVar

from crossfade.control import prediction_tables
from crossfade.control.database import IN_MEMORY, make_private, open_database, reader_of
from crossfade.control.disk_thread import DiskThread

log = logging.getLogger("crossfade.control")

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


def folder_of(state: str) -> Path | None:
    """Beside the database with this path; None in memory."""
    return None if state == IN_MEMORY else Path(f"{state}.predictions")


class _Writer(NamedTuple):
    """`inode`: of the file that it has open."""

    connection: sqlite3.Connection
    inode: tuple[int, int] | None


class PredictionLogs:
    """`folder`: holds `ROUTE.db` for each route with `feedback`; it is made when the first one is written.

    None: a temporary one, for a state in memory; it goes with the state.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.temporary: list[Path] = []
        self.writing = DiskThread("prediction-log")
        self.writers: dict[str, _Writer] = {}  # of the writing thread alone
        # Where nobody closes it. Not when the collector comes, which may be in the midst of an event loop or of a lock.
        self.at_exit = partial(_release, self.writers, self.temporary)
        atexit.register(self.at_exit)

    async def write(self, route: str, work: Work[T]) -> T:
        """Run `work` in one transaction, behind all that was asked before. Raises sqlite3.Error; then nothing is changed."""
        return await asyncio.wrap_future(self.writing.submit(self._write, route, work))

    async def read(self, route: str, work: Work[T]) -> T | None:
        """Run `work` on a connection that cannot write, in a thread. None while the route has no log."""
        return await asyncio.to_thread(self._read, route, work)

    async def read_in_order(self, route: str, work: Work[T]) -> T | None:
        """As `read`, behind all that was to be written before."""
        return await asyncio.wrap_future(self.writing.submit(self._read, route, work))

    def _write(self, route: str, work: Work[T]) -> T:
        connection = self._writer(route)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _writer(self, route: str) -> sqlite3.Connection:
        """Where the file was deleted or replaced, the connection writes to none that anybody reads: a new one is opened."""
        open_one = self.writers.get(route)
        if open_one is not None and self.folder is not None:
            if _inode_of(self.folder / f"{route}.db") == open_one.inode:
                return open_one.connection
            log.warning(
                "the prediction log of route %s was deleted or replaced; going on with what is there", route
            )
            del self.writers[route]
            open_one.connection.close()
        if self.folder is None:
            self.folder = Path(mkdtemp(prefix="crossfade-predictions-"))
            self.temporary.append(self.folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{route}.db"
        make_private(str(path))
        inode = _inode_of(path)
        connection = self._open(str(path))
        self.writers[route] = _Writer(connection, inode)
        return connection

    def _open(self, path: str) -> sqlite3.Connection:
        connection = open_database(path)
        try:
            prediction_tables.prepare(connection, time())
        except BaseException:
            connection.close()
            raise
        return connection

    def _read(self, route: str, work: Work[T]) -> T | None:
        path = None if self.folder is None else self.folder / f"{route}.db"
        if path is None or not path.is_file():
            return None
        connection = reader_of(str(path))
        try:
            return work(connection) if prediction_tables.is_prepared(connection) else None
        finally:
            connection.close()

    def set_aside(self, route: str) -> None:
        """What is in the log is of another route with this name: the file gets another one, and a new log begins. Behind what was asked."""
        _ = self.writing.submit(self._set_aside, route)

    def _set_aside(self, route: str) -> None:
        path = None if self.folder is None else self.folder / f"{route}.db"
        if path is None or not path.exists():
            return
        aside = f"{path}.{time_ns()}"
        try:
            connection = self._writer(route)
            if connection.execute("SELECT 1 FROM ledger LIMIT 1").fetchone() is None:
                return  # no weights, so none that are of another ledger
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            del self.writers[route]
            path.rename(aside)
        except (sqlite3.Error, OSError) as error:
            log.error("the prediction log of an earlier route %s cannot be set aside: %s", route, error)
        else:
            log.warning(
                "%s is of an earlier route with this name; it is %s now, and a new log begins", path, aside
            )

    def rename(self, route: str, to: str) -> None:
        """The log of the route goes on under this name, if there is none yet; behind what was asked."""
        _ = self.writing.submit(self._rename, route, to)

    def _rename(self, route: str, to: str) -> None:
        if self.folder is None or (self.folder / f"{to}.db").exists():
            return
        if not (self.folder / f"{route}.db").exists():
            return
        try:
            connection = self._writer(route)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            del self.writers[route]
            (self.folder / f"{route}.db").rename(self.folder / f"{to}.db")
        except (sqlite3.Error, OSError) as error:
            log.error(
                "the prediction log of route %s stays there, and %s begins another: %s", route, to, error
            )
        else:
            log.info("the prediction log of route %s goes on under the name %s", route, to)

    async def close(self) -> bool:
        """Ends behind what was asked. False if the disk hangs."""
        self.writing.submit(self._close)
        return await asyncio.to_thread(self.writing.end)

    def _close(self) -> None:
        if self.temporary:
            self.folder = None
        atexit.unregister(self.at_exit)
        _release(self.writers, self.temporary)


def _release(writers: dict[str, _Writer], temporary: list[Path]) -> None:
    for writer in writers.values():
        writer.connection.close()
    writers.clear()
    for folder in temporary:
        rmtree(folder, ignore_errors=True)
    temporary.clear()


def _inode_of(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None
