"""What the value of a policy is computed from: ripe predictions and their labels, counted by SQL in a prediction log.

Rule: a unit is a sticky key, or a request without one. A key has the backend, the share and the segment of its first request in the log, and
the mean of the labels of its requests under that ledger version; later coins of the same key say nothing new. Testers do not count.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from crossfade.control.label_queries import MOST
from crossfade.control.prediction_tables import newest_until
from crossfade.rollout.policy_value import RowGroup, Segment
from crossfade.routing.snapshot import TESTER

BLOCKS = 20  # of rows; a model of the number learns from the earlier ones


class ValueQuery(NamedTuple):
    """`name`: of the feedback. `correct`: the number is 1 where the answer was right, with this `threshold` of the score.

    `missing`: the number of a prediction without feedback. `places`: of the segments that the policy asks for.
    `ripe_at`: wall time; predictions that were logged until then count. `since`: not those before. `most`: the newest so many.
    """

    name: str
    correct: bool
    threshold: float | None
    missing: float | None
    places: Sequence[int]
    ripe_at: float
    since: float = 0.0
    most: int = MOST


class LoggedRows(NamedTuple):
    """`shares`: of each backend, by ledger version. `keyed`: whether units are sticky keys; `beyond`: older rows that were not read."""

    groups: list[RowGroup]
    shares: dict[int, dict[str, float]]
    keyed: bool
    beyond: int


def logged_rows(connection: sqlite3.Connection, asked: ValueQuery) -> LoggedRows:
    last = newest_until(connection, asked.ripe_at)
    since = newest_until(connection, asked.since) if asked.since else 0
    oldest = connection.execute(
        "SELECT IFNULL(MIN(seq), 1) FROM prediction WHERE seq > ?", (since,)
    ).fetchone()[0]
    first = max(oldest, last - asked.most + 1)
    names = dict(connection.execute("SELECT id, name FROM backend"))
    parameters = {
        "name": asked.name,
        "first": first,
        "last": last,
        "span": max(last - first + 1, 1),
        "blocks": BLOCKS,
        "tester": TESTER,
        "missing": asked.missing,
    }
    found = [(False, row) for row in connection.execute(_of_requests(asked), parameters)]
    found += [(True, row) for row in connection.execute(_of_keys(asked), parameters)]
    groups = [
        RowGroup(block, version, names[backend], _segment(asked.places, segments), value, n)
        for _, (block, version, backend, value, n, *segments) in found
    ]
    groups.sort(key=lambda group: group.block)
    keyed = any(keyed for keyed, _ in found)
    return LoggedRows(groups, _shares(connection), keyed, max(first - oldest, 0))


def _segment(places: Sequence[int], values: Sequence[object]) -> Segment:
    """The values at their places; None where the segment of a row is not known."""
    if not places or any(value is None for value in values):
        return None
    out = [""] * (max(places) + 1)
    for place, value in zip(places, values, strict=True):
        out[place] = str(value)
    return tuple(out)


def _value(asked: ValueQuery) -> str:
    """The number of the prediction `p` with the feedback `f`; NULL without one. The threshold is a number of the configuration."""
    if not asked.correct:
        number = "CASE WHEN typeof(f.value) IN ('integer', 'real') THEN f.value END"
        return f"IFNULL({number}, :missing)" if asked.missing is not None else number
    if asked.threshold is None:
        return "CASE WHEN p.answered = p.backend THEN p.label = f.value END"
    said = f"(p.score >= {float(asked.threshold)!r})"
    return (
        f"CASE WHEN p.answered = p.backend AND typeof(f.value) <> 'text' THEN {said} = (f.value >= 0.5) END"
    )


def _of_requests(asked: ValueQuery) -> str:
    segments = "".join(f", json_extract(p.segment, '$[{int(place)}]')" for place in asked.places)
    groups = ", ".join(str(n) for n in (1, 2, 3, 4, *range(6, 6 + len(asked.places))))
    return (
        f"SELECT (p.seq - :first) * :blocks / :span, p.ledger_version, p.backend, {_value(asked)}, COUNT(*){segments} "
        "FROM prediction p LEFT JOIN feedback f ON f.seq = p.seq AND f.name = :name "
        "WHERE p.seq BETWEEN :first AND :last AND p.role <> :tester AND p.key IS NULL "
        f"GROUP BY {groups}"
    )


def _of_keys(asked: ValueQuery) -> str:
    """The inner query has a row for each key, the outer one counts those that are alike.

    CROSS JOIN: the log is read once, and a temporary index of `started` is asked; the log has none of all keys.
    """
    columns = [f"s{i}" for i in range(len(asked.places))]
    inner = "".join(
        f", json_extract(a.segment, '$[{int(place)}]') AS {name}"
        for place, name in zip(asked.places, columns, strict=True)
    )
    by = ", ".join(["block", "version", "backend", "value", *columns])
    return (
        "WITH started AS (SELECT MIN(seq) AS seq, key FROM prediction "
        "WHERE seq BETWEEN :first AND :last AND role <> :tester AND key IS NOT NULL GROUP BY key), "
        "unit AS (SELECT (a.seq - :first) * :blocks / :span AS block, a.ledger_version AS version, a.backend AS backend, "
        f"AVG({_value(asked)}) AS value{inner} "
        "FROM prediction p CROSS JOIN started ON started.key = p.key JOIN prediction a ON a.seq = started.seq "
        "LEFT JOIN feedback f ON f.seq = p.seq AND f.name = :name "
        "WHERE p.seq BETWEEN :first AND :last AND p.ledger_version = a.ledger_version AND p.role <> :tester GROUP BY a.seq) "
        f"SELECT block, version, backend, value, COUNT(*){''.join(f', {name}' for name in columns)} FROM unit GROUP BY {by}"
    )


def _shares(connection: sqlite3.Connection) -> dict[int, dict[str, float]]:
    out: dict[int, dict[str, float]] = {}
    for version, text in connection.execute("SELECT version, weights FROM ledger"):
        weights: Mapping[str, int] = msgspec.json.decode(text, type=dict[str, int])
        total = sum(weights.values())
        if total:
            out[version] = {name: weight / total for name, weight in weights.items()}
    return out
