"""Pages of the journal as it is stored, for clients that read many decisions.

Rule: the text of a record is passed on and not decoded, and a page has a limit in bytes too. A thousand decisions with much
evidence are hundreds of megabytes, and the thread that decodes them keeps the health loop from running.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

PAGE_BYTES = 4 * 1024 * 1024


class Record(NamedTuple):
    """`text`: the decision as JSON."""

    id: int
    text: bytes


class Page(NamedTuple):
    """In order of id. `is_cut`: there was no room for all that was asked for."""

    records: list[Record]
    is_cut: bool


def read_page(reader: sqlite3.Connection, route: str | None, after: int | None, limit: int) -> Page:
    """The first above `after`, or the last of all; at least one, however large it is. Raises sqlite3.Error."""
    where, values = [], list[object]()
    if route is not None:
        where.append("route = ?")
        values.append(route)
    if after is not None:
        where.append("id > ?")
        values.append(after)
    found = reader.execute(
        "SELECT id, CAST(record AS BLOB) FROM decisions "
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
