"""A message to somebody, and those that wait in the database of the state: a row of `meta` for each, and one for the last decision
that they were made of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from crossfade.control.views import Decision

TOLD = "told"  # the name of the row with the id of a decision
MAX_UNTOLD = 1_000  # decisions of a process that died, of which messages are made at the next start
_FIRST, _BEHIND = "message:", "message;"  # rows of messages are from the one to the other


Severity = Literal["info", "warning", "error"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """`number`: its place in the order of all. `receiver`: the key of who gets it. `id`: the same at each attempt.

    `at`: wall time; `served`: the served time at which it was made. `facts`: what is known of a decision, for programs.
    """

    id: str
    event: str
    route: str  # "" if it is about the proxy
    at: float
    severity: Severity
    title: str
    detail: str
    facts: dict[str, Any] = {}
    decision: int = 0
    number: int = 0
    receiver: str = ""
    served: float = 0.0


class KeptMessages(NamedTuple):
    """`told`: the last decision that messages were made of; None if there were no receivers. `untold`: the decisions behind it."""

    messages: list[Message]
    told: int | None
    untold: list[Decision]


class MessageRows(NamedTuple):
    """What to write. `gone`: names of rows; None: all that are there."""

    new: Sequence[Message]
    gone: Sequence[tuple[str]] | None
    told: int | None


def row_of(number: int) -> str:
    """In the order of the numbers."""
    return f"{_FIRST}{number:015}"


def write(connection: sqlite3.Connection, rows: MessageRows) -> None:
    """Encoded here, in the thread of the disk: messages never change."""
    if rows.gone is None:
        connection.execute("DELETE FROM meta WHERE name >= ? AND name < ?", (_FIRST, _BEHIND))
    else:
        connection.executemany("DELETE FROM meta WHERE name = ?", rows.gone)
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        [(row_of(message.number), msgspec.json.encode(message).decode()) for message in rows.new],
    )
    if rows.told is None:
        connection.execute("DELETE FROM meta WHERE name = ?", (TOLD,))
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (TOLD, str(rows.told)))


def read(connection: sqlite3.Connection) -> tuple[list[Message], int | None]:
    """In order. Raises sqlite3.Error, msgspec.DecodeError, or ValueError."""
    found = connection.execute(
        "SELECT value FROM meta WHERE name >= ? AND name < ? ORDER BY name", (_FIRST, _BEHIND)
    )
    messages = [msgspec.json.decode(value, type=Message) for (value,) in found]
    told = connection.execute("SELECT value FROM meta WHERE name = ?", (TOLD,)).fetchone()
    return messages, int(told[0]) if told else None
