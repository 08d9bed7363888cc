"""The texts of configurations that were in force, in the database of the state: a row of `meta` for each.

Rule: a text is kept as it was written, with its variables; what is shown of it has its secrets as `***`. The oldest go first, where
there are more than MOST or they are larger than MOST_BYTES together; the two newest always stay.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum

import msgspec

MOST = 50
MOST_BYTES = 16 << 20
_FIRST, _BEHIND = "config:", "config;"  # rows of configurations are from the one to the other


class Origin(StrEnum):
    FILE = "file"
    APPLIED = "applied"


class KeptConfig(msgspec.Struct, frozen=True):
    """`at`: wall time at which it came into force, by `actor`. `shown`: the text with its secrets as `***`."""

    id: int
    at: float
    actor: str
    origin: Origin
    hash: str
    text: str
    shown: str

    @property
    def size(self) -> int:
        return len(self.text) + len(self.shown)


def write(connection: sqlite3.Connection, kept: KeptConfig) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (_row(kept.id), msgspec.json.encode(kept).decode())
    )
    total = 0
    for place, each in enumerate(reversed(read(connection))):
        total += each.size
        if place >= 2 and (place >= MOST or total > MOST_BYTES):
            connection.execute("DELETE FROM meta WHERE name = ?", (_row(each.id),))


def read(connection: sqlite3.Connection) -> list[KeptConfig]:
    """The oldest first. Raises sqlite3.Error, or msgspec.DecodeError."""
    found = connection.execute(
        "SELECT value FROM meta WHERE name >= ? AND name < ? ORDER BY name", (_FIRST, _BEHIND)
    )
    return [msgspec.json.decode(value, type=KeptConfig) for (value,) in found]


def _row(number: int) -> str:
    """In the order of the numbers."""
    return f"{_FIRST}{number:015}"
