"""Pages of the journal as it is stored, for clients that read many decisions.

Rule: the text of a record is passed on and not decoded, and a page has a limit in bytes too. A thousand decisions with much
evidence are hundreds of megabytes, and the thread that decodes them keeps the health loop from running.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.control.views import Decision

PAGE_BYTES = 4 * 1024 * 1024


class Record(NamedTuple):
    """`text`: the decision as JSON."""

    id: int
    text: bytes


def record_of(decision: Decision, brief: bool) -> Record:
    """Of one that is not in the database yet."""
    return Record(decision.id, msgspec.json.encode(without_given(decision) if brief else decision))


def without_given(decision: Decision) -> Decision:
    """Without all that the evaluation read."""
    return replace(decision, evidence={k: v for k, v in decision.evidence.items() if k != "given"})


class Page(NamedTuple):
    """In order of id. `is_cut`: there was no room for all that was asked for."""

    records: list[Record]
    is_cut: bool


def read_page(
    reader: sqlite3.Connection, route: str | None, after: int | None, limit: int, brief: bool = False
) -> Page:
    """The first above `after`, or the last of all; at least one, however large it is. Raises sqlite3.Error.

    `brief`: without what the evaluation was given, which is most of the text; sqlite takes it out.
    """
    text = "json_remove(record, '$.evidence.given')" if brief else "record"
    where, values = [], list[object]()
    if route is not None:
        where.append("route = ?")
        values.append(route)
    if after is not None:
        where.append("id > ?")
        values.append(after)
    found = reader.execute(
        f"SELECT id, CAST({text} AS BLOB) FROM decisions "
        + (f"WHERE {' AND '.join(where)} " if where else "")
        + f"ORDER BY id {'DESC' if after is None else 'ASC'} LIMIT ?",
        (*values, limit),
    )
    records, size, is_cut = list[Record](), 0, False
    for record in map(Record._make, found):
        size += len(record.text)
        if records and size > PAGE_BYTES:
            is_cut = True
            break
        records.append(record)
    found.close()
    return Page(records[::-1] if after is None else records, is_cut)
