"""Opening the database of the state: make it, bring it to the current format, or refuse it and leave it as it is."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from crossfade.control import migrations
from crossfade.control.migrations import FormatError

log = logging.getLogger("crossfade.store")

BUSY_TIMEOUT = 0.2  # seconds; a reader's lock is brief, and the health loop must not wait
IN_MEMORY = ":memory:"
PRIVATE = 0o600  # the mode of files that hold the state


class StoreError(Exception):
    """The store cannot be opened, read or written; the message is for the operator."""


class StoreLostError(StoreError):
    """The files are no longer those that were opened. Nothing is written until the next start."""


def path_of(state: str) -> str | None:
    """The database's path in the configuration's `state`; None in memory. Raises StoreError for other stores."""
    kind, _, path = state.partition(":")
    if kind != "sqlite" or not path:
        raise StoreError(f"state: this version keeps its state in sqlite:PATH only, not in {state}")
    return None if path == IN_MEMORY else path


def connect(path: str) -> sqlite3.Connection:
    """Open or create; the file of another program is not changed."""
    connection = None
    if path != IN_MEMORY:
        make_private(path)
    try:
        connection = open_database(path)
        prepare(connection, path)
    except (sqlite3.Error, FormatError, StoreError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            said = f"{path}: cannot be used as the state: {error}"
        else:
            said = str(error) if isinstance(error, StoreError) else f"{path}: {error}"
        raise StoreError(said + _advice(path)) from error
    return connection


def _advice(path: str) -> str:
    """The spool can have the state of a proxy whose database was damaged."""
    with suppress(OSError):
        if Path(f"{path}.spool").read_bytes().strip(b"\0"):
            return f"; {path}.spool has the state that was in force: move the database away, keep the spool, and start again"
    return ""


def connect_to_read(path: str) -> sqlite3.Connection:
    """Without the lock on the state. The file is never changed; one of an earlier format is read from a copy."""
    if not Path(path).is_file():
        raise StoreError(f"{path}: there is no such file")
    connection = None
    try:
        connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
        written = migrations.format_of(connection)
        if written is None:
            raise StoreError(f"{path}: there is no journal in it")
        if written < migrations.FORMAT:
            connection = upgraded_copy(connection, path, written)
    except (sqlite3.Error, FormatError, StoreError) as error:
        if connection is not None:
            connection.close()
        raise error if isinstance(error, StoreError) else StoreError(f"{path}: {error}") from error
    return connection


def open_database(path: str) -> sqlite3.Connection:
    """Opened in the main thread, then used in the store's threads."""
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)


def make_private(path: str) -> None:
    """Make the file if there is none. It and those that SQLite keeps beside it are for their owner only.

    SQLite gives a new file beside the database the mode of the database. Call it before the database is open in this
    process: when a process closes any descriptor of a file, it loses SQLite's locks on the file too.
    """
    with suppress(OSError):  # SQLite names the fault
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):  # of another owner, or not there
            os.chmod(name, PRIVATE)


def reader_of(path: str) -> sqlite3.Connection:
    connection = open_database(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables, or bring them to the current format. The caller holds the lock on the state."""
    written = migrations.format_of(connection)
    (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise StoreError(f"{path}: is corrupt: {sound}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if written is None:
        migrations.create(connection)
    elif written < migrations.FORMAT:
        copy = keep_copy(connection, f"{path}.format-{written}")
        upgrade(connection, path, written)
        log.warning(
            "%s: upgraded from format %d to %d; the file before is %s", path, written, migrations.FORMAT, copy
        )
    else:
        with suppress(sqlite3.Error):  # only for an error message: a full disk must not stop a start
            migrations.name_version(connection)


def keep_copy(connection: sqlite3.Connection, path: str) -> str:
    """Copy the whole file before an upgrade, for a downgrade. The copy replaces that of an earlier upgrade."""
    unfinished = f"{path}.new"
    try:
        Path(unfinished).unlink(missing_ok=True)
        make_private(unfinished)
        with closing(sqlite3.connect(unfinished)) as copy:
            connection.backup(copy)
        os.replace(unfinished, path)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            os.unlink(unfinished)
        raise StoreError(f"{path}: cannot keep a copy of the state before its upgrade: {error}") from error
    return path


def upgrade(connection: sqlite3.Connection, path: str, written: int) -> None:
    try:
        migrations.migrate(connection)
    except (sqlite3.Error, msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
        said = (
            f"the upgrade from format {written} to {migrations.FORMAT} failed, nothing is changed: {error!r}"
        )
        raise StoreError(f"{path}: {said}") from error


def upgraded_copy(connection: sqlite3.Connection, path: str, written: int) -> sqlite3.Connection:
    """A temporary database in the current format, for reading; the file stays as it is."""
    copy = sqlite3.connect("", isolation_level=None)
    try:
        with closing(connection):
            connection.backup(copy)
        upgrade(copy, path, written)
    except BaseException:
        copy.close()
        raise
    return copy
