"""The prediction logs of all routes: who may read and write them, and in which thread.

Rule: one thread writes, in the order of the calls; readers have connections of their own. A disk that is slow or full stops
neither serving nor deciding.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import time
from typing import TypeVar

from crossfade.control import prediction_tables
from crossfade.control.database import IN_MEMORY, make_private, open_database, reader_of
from crossfade.control.disk_thread import DiskThread

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


def folder_of(state: str) -> Path | None:
    """Beside the database with this path; None in memory."""
    return None if state == IN_MEMORY else Path(f"{state}.predictions")


class PredictionLogs:
    """`folder`: holds `ROUTE.db` for each route with `feedback`; it is made when the first one is written.

    None: a temporary one, for a state in memory; it goes with the state.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.is_temporary = folder is None
        self.writing = DiskThread("prediction-log")
        self.writers: dict[str, sqlite3.Connection] = {}  # of the writing thread alone

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
        connection = self.writers.get(route)
        if connection is None:
            self.writers[route] = connection = self._open(route)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _open(self, route: str) -> sqlite3.Connection:
        if self.folder is None:
            self.folder = Path(mkdtemp(prefix="crossfade-predictions-"))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = str(self.folder / f"{route}.db")
        make_private(path)
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

    async def close(self) -> bool:
        """Ends behind what was asked. False if the disk hangs."""
        self.writing.submit(self._close)
        return await asyncio.to_thread(self.writing.end)

    def _close(self) -> None:
        for connection in self.writers.values():
            connection.close()
        self.writers.clear()
        if self.is_temporary and self.folder is not None:
            rmtree(self.folder, ignore_errors=True)
            self.folder = None
