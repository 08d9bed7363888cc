"""The tables of a prediction log. Each route with `feedback` has a file of its own, so its size and age have one owner.

`prediction`: one row for each exchange, in the order of arrival. `id_hash` and `key` are unsigned 64-bit hashes stored as
signed integers (`signed`). `logged_at`: wall time of the control process when it wrote the row; it never falls from one row
to the next, so the age of labels is counted from it.

Hashes come in no order, and an index of all of them would write a page of its own for each row. So both indexes have parts
of 131 072 rows, and only the newest part is written to; whoever looks for a row goes from part to part (`parts`).

`feedback`: `at` is when the value in force came, `first_at` when the first one did; by the same clock as `logged_at`. `early`
and `early_key`: feedback that came before its prediction; `shared`: in the logs of several routes, for it names none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

FORMAT = 1
CACHE_KIB = 16_384  # the newest part of both indexes is in it
CHECKPOINT_PAGES = 4_096  # 16 MiB: pages that are written again and again go to the file once
PART_BITS = 17
ROWS_A_SECOND = 20_000  # more than one log gets
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS backend (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS ledger (version INTEGER PRIMARY KEY, weights TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prediction (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id_hash INTEGER NOT NULL,
  request_id BLOB NOT NULL,
  backend INTEGER NOT NULL,
  answered INTEGER,
  role TEXT NOT NULL,
  ledger_version INTEGER NOT NULL,
  key INTEGER,
  at REAL NOT NULL,
  logged_at REAL NOT NULL,
  status INTEGER NOT NULL,
  seconds REAL NOT NULL,
  blamed INTEGER NOT NULL,
  score REAL,
  label,
  segment TEXT
);
CREATE INDEX IF NOT EXISTS prediction_id ON prediction (seq >> {PART_BITS}, id_hash);
CREATE INDEX IF NOT EXISTS prediction_key ON prediction (seq >> {PART_BITS}, key) WHERE key IS NOT NULL;
CREATE TABLE IF NOT EXISTS copy (
  seq INTEGER NOT NULL, backend INTEGER NOT NULL, score REAL, label, PRIMARY KEY (seq, backend)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS input (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS feedback (
  seq INTEGER NOT NULL, name TEXT NOT NULL, value NOT NULL, at REAL NOT NULL, first_at REAL NOT NULL,
  PRIMARY KEY (seq, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS early (
  request_id BLOB NOT NULL, name TEXT NOT NULL, value NOT NULL, at REAL NOT NULL, shared INTEGER NOT NULL,
  PRIMARY KEY (request_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS early_key (
  key INTEGER NOT NULL, until REAL NOT NULL, name TEXT NOT NULL, value NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (key, until, name)
) WITHOUT ROWID;
"""

_NEWEST = f"""
SELECT value, found FROM (
  SELECT value, (
    SELECT p.seq FROM prediction p WHERE p.seq >> {PART_BITS} = ?2 AND p.id_hash = value ORDER BY p.seq DESC LIMIT 1
  ) AS found FROM json_each(?1)
) WHERE found IS NOT NULL
"""


def prepare(connection: sqlite3.Connection, now: float) -> None:
    """Make the tables where there are none. A commit survives the end of the machine. `now`: wall time.

    Numbers of predictions begin with the time, above those of a log that was deleted: whoever keeps one as a mark of how far
    it has read, reads on.
    """
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    if written > FORMAT:
        raise sqlite3.DatabaseError(f"it has format {written}, of a later version; this one writes {FORMAT}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.executescript(SCHEMA)
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'prediction', ? "
        "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'prediction')",
        (int(now) * ROWS_A_SECOND,),
    )
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def is_prepared(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there: another process or thread may be making them."""
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(written == FORMAT)


def parts(connection: sqlite3.Connection, until: int | None = None) -> range:
    """Of the indexes, newest first; of rows up to this `seq`. A part is `seq >> PART_BITS`."""
    first, last = connection.execute(
        "SELECT * FROM (SELECT MIN(seq) FROM prediction), (SELECT MAX(seq) FROM prediction)"
    ).fetchone()
    if first is None:
        return range(0)
    newest = last if until is None else min(last, until)
    return range(newest >> PART_BITS, (first >> PART_BITS) - 1, -1)


def newest_of(connection: sqlite3.Connection, hashes: Iterable[int]) -> dict[int, int]:
    """The newest row with each of these hashes of an id; those without a row are left out.

    All of them are looked for in one part after the other, in the order of its index: so one page answers for several.
    """
    wanted, found = set(hashes), dict[int, int]()
    for part in parts(connection):
        if not wanted:
            break
        given = (msgspec.json.encode(sorted(wanted)).decode(), part)
        in_part = dict(connection.execute(_NEWEST, given))
        found |= in_part
        wanted -= in_part.keys()
    return found


def signed(hash64: int) -> int:
    """An unsigned 64-bit integer as SQLite stores one."""
    return hash64 - (1 << 64) if hash64 >= 1 << 63 else hash64


def unsigned(stored: int) -> int:
    return stored + (1 << 64) if stored < 0 else stored


def id_hash(request_id: bytes) -> int:
    """Of a request's id, signed: what the index holds in its place."""
    return int.from_bytes(blake2b(request_id, digest_size=8).digest(), "big", signed=True)


def newest_until(connection: sqlite3.Connection, at: float, after: int = 0, most: int | None = None) -> int:
    """A seq, `after` or behind it: rows up to it were logged at `at` or before, those behind it later.

    `most`: at most so many places behind the first row are looked at. `logged_at` never falls, so a bisection does.
    """
    first, last = connection.execute(
        "SELECT (SELECT min(seq) FROM prediction WHERE seq > ?), (SELECT max(seq) FROM prediction)", (after,)
    ).fetchone()
    if first is None:
        return after
    low: int = max(after, first - 1)
    high: int = last if most is None else min(last, low + most)
    while low < high:
        middle = (low + high + 1) // 2
        seq, logged_at = connection.execute(
            "SELECT seq, logged_at FROM prediction WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (middle,)
        ).fetchone() or (after, at)
        if seq <= low or logged_at <= at:
            low = middle
        else:
            high = seq - 1
    return low
