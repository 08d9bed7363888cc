"""Pruning: decisions older than `journal: {keep: …}` are deleted, a few at a time.

Rule: the last decision of each route and of each rollout stays, as the present state rests on it. The anchor, in `meta`, is the id
and the hash of the last decision that was deleted; it is written together with the deletion. So the chain is proven from the
anchor on, and a deletion that nobody ordered is still found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable

import msgspec

from crossfade.control.chain import Anchor

BATCH = 500  # decisions in one transaction
APART = ("order", "alias", "gate")  # keys of `to` in decisions that change no state of a route
STANDING = " AND ".join(f"json_extract(record, '$.to.{key}') IS NULL" for key in APART)


def is_apart(to: Container[str]) -> bool:
    """`to` of a decision that says nothing of where its route stands: of an order to train its model, of an alias in a registry, or of a gate."""
    return any(key in to for key in APART)


def anchor_of(connection: sqlite3.Connection) -> Anchor:
    """The start of the chain if nothing was pruned."""
    found = connection.execute("SELECT value FROM meta WHERE name = 'anchor'").fetchone()
    return msgspec.json.decode(found[0], type=Anchor) if found else Anchor()


def prune(connection: sqlite3.Connection, before: float, rollouts: Iterable[tuple[str, str]]) -> int:
    """Delete decisions made before this wall time; returns how many. In the caller's transaction.

    `rollouts`: (route, challenger) of each, and (route, "") of each route.
    """
    # Only those before the first younger one: the wall clock may have been set back meanwhile.
    clause = "SELECT id FROM decisions WHERE at >= ? ORDER BY id LIMIT 1"
    young = connection.execute(clause, (before,)).fetchone()
    (end,) = young or connection.execute("SELECT coalesce(max(id), 0) FROM decisions").fetchone()
    if connection.execute("SELECT min(id) FROM decisions").fetchone()[0] in (end, None):
        return 0
    kept = set(_last_of_each(connection, rollouts))
    rows = connection.execute(
        "SELECT id, hash FROM decisions WHERE id < ? ORDER BY id LIMIT ?", (end, BATCH + len(kept))
    )
    old = [Anchor(*row) for row in rows if row[0] not in kept][:BATCH]
    if not old:
        return 0
    connection.executemany("DELETE FROM decisions WHERE id = ?", [(number,) for number, _ in old])
    anchor = max(old[-1], anchor_of(connection))  # one that stayed may be older than the anchor
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES ('anchor', ?)", (msgspec.json.encode(anchor).decode(),)
    )
    return len(old)


def _last_of_each(connection: sqlite3.Connection, rollouts: Iterable[tuple[str, str]]) -> Iterable[int]:
    for route, challenger in rollouts:
        where = "AND json_extract(record, '$.to.challenger') = ? " if challenger else ""
        values = (route, challenger) if challenger else (route,)
        clause = f"SELECT id FROM decisions WHERE route = ? AND {STANDING} {where}ORDER BY id DESC LIMIT 1"
        yield from (number for (number,) in connection.execute(clause, values))
