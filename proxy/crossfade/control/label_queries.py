"""Counts of ripe labels, from a prediction log. SQL adds up; nothing of a single row comes to Python.

Rule: losses are of a backend's own answers; a request that the fallback answered has a label, and no loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from math import log
from typing import NamedTuple

from crossfade.control.prediction_tables import newest_until
from crossfade.quality.label_counts import (
    STEPS,
    Delays,
    LabelCounts,
    LabelKind,
    LabelQuestion,
    SideLabels,
)
from crossfade.stats.auc import ByScore
from crossfade.stats.unit_means import UnitSums

MOST = 1_000_000  # newest rows that are counted, so that the answer comes in seconds
CLASSES = 12  # names in a confusion table; others are one
CLIPPED = 1e-3  # the least probability of the log loss
_OTHER = "(other)"
_OWN = "p.answered = p.backend AND (p.score IS NOT NULL OR p.label IS NOT NULL)"
_EVENT = "p.score BETWEEN 0 AND 1"
_P = f"MIN(MAX(p.score, {CLIPPED}), {1 - CLIPPED})"


class Range(NamedTuple):
    """Rows with `first` < seq ≤ `last`."""

    first: int
    last: int


def counts_of_labels(connection: sqlite3.Connection, asked: LabelQuestion) -> LabelCounts:
    connection.create_function("log_of", 1, log, deterministic=True)  # not every SQLite has `ln`
    names = dict(connection.execute("SELECT id, name FROM backend"))
    (before,) = connection.execute("SELECT IFNULL(MIN(seq), 1) - 1 FROM prediction").fetchone()
    since = max(before, newest_until(connection, asked.since) if asked.since else 0)
    ripe = newest_until(connection, asked.now - asked.horizon)
    rows = Range(max(since, ripe - MOST), ripe)
    kind = _kind(connection, asked, rows)
    out = LabelCounts(kind, {names[backend]: side for backend, side in _sides(connection, asked, rows, kind)})
    out.left_out = max(rows.first - since, 0)
    if out.sides:
        out.first, out.last = connection.execute(
            "SELECT MIN(at), MAX(at) FROM prediction WHERE seq > ? AND seq <= ?", (rows.first, rows.last)
        ).fetchone()
    out.delays = {names[backend]: found for backend, found in _delays(connection, asked, since).items()}
    for name, backend, sums in _kpis(connection, asked, rows):
        out.kpis.setdefault(name, {})[names[backend]] = sums
    return out


def _rows(asked: LabelQuestion, rows: Range) -> tuple[str, tuple[object, ...]]:
    """Ripe predictions `p` with their label `f.value`, and the parameters."""
    source = "prediction p JOIN feedback f ON f.seq = p.seq AND f.name = ? WHERE p.seq > ? AND p.seq <= ?"
    return source, (asked.name, rows.first, rows.last)


def _kind(connection: sqlite3.Connection, asked: LabelQuestion, rows: Range) -> LabelKind:
    source, parameters = _rows(asked, rows)
    found = {
        kind
        for (kind,) in connection.execute(
            "SELECT DISTINCT CASE WHEN typeof(f.value) = 'text' THEN 'classes' "
            f"WHEN f.value IN (0, 1) THEN 'events' ELSE 'numbers' END FROM {source}",
            parameters,
        )
    }
    if "classes" in found:
        return "classes"
    return "numbers" if "numbers" in found else "events"


def _sides(
    connection: sqlite3.Connection, asked: LabelQuestion, rows: Range, kind: LabelKind
) -> Iterable[tuple[int, SideLabels]]:
    sides = {
        backend: SideLabels(ripe=n)
        for backend, n in connection.execute(
            "SELECT backend, COUNT(*) FROM prediction WHERE seq > ? AND seq <= ? GROUP BY backend", rows
        )
    }
    source, parameters = _rows(asked, rows)
    for backend, n in connection.execute(
        f"SELECT p.backend, COUNT(*) FROM {source} GROUP BY p.backend", parameters
    ):
        sides[backend].labelled = n
    _add_measures(connection, f"{source} AND {_OWN}", parameters, sides, _measures(asked, kind))
    if kind == "events":
        _add_scores(connection, f"{source} AND {_OWN} AND {_EVENT}", parameters, sides)
    if kind != "numbers":
        said = "p.label" if kind == "classes" else _said(asked.threshold)
        comparable = f"{said} IS NOT NULL" if kind == "classes" else f"typeof({said}) <> 'text'"
        _add_confusion(connection, f"{source} AND {_OWN} AND {comparable}", parameters, sides, said)
    return sides.items()


def _said(threshold: float | None) -> str:
    """What the answer decides, in SQL: NULL where it says nothing. The threshold is a number of the configuration."""
    return "p.label" if threshold is None else f"(p.score >= {float(threshold)!r})"


def _measures(asked: LabelQuestion, kind: LabelKind) -> list[tuple[str, str, str]]:
    """(Field, value of a row, which rows)."""
    if kind == "numbers":
        number = "IFNULL(p.score, p.label)"
        where = f"typeof({number}) IN ('integer', 'real')"
        error = f"({number} - f.value)"
        return [
            ("error", error, where),
            ("absolute", f"ABS({error})", where),
            ("squared", f"{error} * {error}", where),
        ]
    if kind == "classes":
        return [("correct", "(p.label = f.value)", "p.label IS NOT NULL")]
    said = _said(asked.threshold)
    correct = ("correct", f"({said} = f.value)", f"typeof({said}) IN ('integer', 'real')")
    brier = "(p.score - f.value) * (p.score - f.value)"
    loss = f"-log_of(CASE f.value WHEN 1 THEN {_P} ELSE 1 - {_P} END)"
    return [correct, ("brier", brier, _EVENT), ("log_loss", loss, _EVENT)]


def _add_measures(
    connection: sqlite3.Connection,
    source: str,
    parameters: tuple[object, ...],
    sides: dict[int, SideLabels],
    measures: Sequence[tuple[str, str, str]],
) -> None:
    """All in one pass. A unit is a sticky key, or a request without one."""
    inner, outer = "", ""
    for i, (_, value, where) in enumerate(measures):
        row = f"CASE WHEN {where} THEN {value} END"
        inner += f", COUNT({row}) AS n{i}, TOTAL({row}) AS x{i}"
        outer += f", SUM(n{i} > 0), SUM(n{i}), TOTAL(x{i}), TOTAL(x{i} * x{i}), TOTAL(x{i} * n{i}), SUM(n{i} * n{i})"
    found = connection.execute(
        f"SELECT backend{outer} FROM (SELECT p.backend AS backend{inner} FROM {source} "
        "GROUP BY p.backend, p.key, CASE WHEN p.key IS NULL THEN p.seq END) GROUP BY backend",
        parameters,
    )
    for backend, *sums in found:
        for i, (field, _, _) in enumerate(measures):
            setattr(sides[backend], field, UnitSums(*sums[6 * i : 6 * i + 6]))


def _add_scores(
    connection: sqlite3.Connection, source: str, parameters: tuple[object, ...], sides: dict[int, SideLabels]
) -> None:
    for backend, score, negatives, positives in connection.execute(
        "SELECT p.backend, ROUND(p.score, 3) AS s, SUM(f.value = 0), SUM(f.value = 1) "
        f"FROM {source} GROUP BY p.backend, s ORDER BY p.backend, s",
        parameters,
    ):
        sides[backend].by_score = [*sides[backend].by_score, ByScore(score, negatives, positives)]


def _add_confusion(
    connection: sqlite3.Connection,
    source: str,
    parameters: tuple[object, ...],
    sides: dict[int, SideLabels],
    said: str,
) -> None:
    counted: dict[int, dict[tuple[str, str], int]] = {}
    for backend, guess, truth, n in connection.execute(
        f"SELECT p.backend, {said} AS said, f.value, COUNT(*) FROM {source} AND said IS NOT NULL "
        "GROUP BY p.backend, said, f.value",
        parameters,
    ):
        counted.setdefault(backend, {})[(_word(guess), _word(truth))] = n
    kept = _most_frequent(counted.values())
    for backend, table in counted.items():
        summed: dict[tuple[str, str], int] = {}
        for (guess, truth), n in table.items():
            pair = (guess if guess in kept else _OTHER, truth if truth in kept else _OTHER)
            summed[pair] = summed.get(pair, 0) + n
        sides[backend].confusion = [(*pair, n) for pair, n in sorted(summed.items())]


def _word(value: object) -> str:
    """1 and 1.0 are the same label."""
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def _most_frequent(tables: Iterable[dict[tuple[str, str], int]]) -> set[str]:
    seen: dict[str, int] = {}
    for table in tables:
        for pair, n in table.items():
            for word in pair:
                seen[word] = seen.get(word, 0) + n
    return set(sorted(seen, key=lambda word: (-seen[word], word))[:CLASSES])


def _delays(connection: sqlite3.Connection, asked: LabelQuestion, since: int) -> dict[int, Delays]:
    """Of all predictions, also those that are not ripe."""
    (newest,) = connection.execute("SELECT IFNULL(MAX(seq), 0) FROM prediction").fetchone()
    step = asked.horizon / STEPS
    out: dict[int, Delays] = {}
    for backend, *counted in connection.execute(
        "SELECT p.backend, MIN(?, CAST(MAX(? - p.logged_at, 0) / ? AS INTEGER)) AS age, "
        "IFNULL(MIN(?, CAST(MAX(f.first_at - p.logged_at, 0) / ? AS INTEGER)), -1) AS delay, COUNT(*) "
        "FROM prediction p LEFT JOIN feedback f ON f.seq = p.seq AND f.name = ? "
        "WHERE p.seq > ? GROUP BY p.backend, age, delay",
        (STEPS, asked.now, step, STEPS, step, asked.name, max(since, newest - MOST)),
    ):
        delays = out.setdefault(backend, Delays())
        delays.counts = [*delays.counts, (counted[0], counted[1], counted[2])]
    return out


def _kpis(
    connection: sqlite3.Connection, asked: LabelQuestion, rows: Range
) -> Iterable[tuple[str, int, UnitSums]]:
    found = connection.execute(
        "SELECT name, backend, COUNT(*), SUM(n), SUM(x), SUM(x * x), SUM(x * n), SUM(n * n) FROM ("
        "SELECT f.name AS name, p.backend AS backend, COUNT(*) AS n, 1.0 * SUM(f.value) AS x "
        "FROM prediction p JOIN feedback f ON f.seq = p.seq "
        "WHERE p.seq > ? AND p.seq <= ? AND f.name <> ? AND typeof(f.value) <> 'text' "
        "GROUP BY f.name, p.backend, p.key, CASE WHEN p.key IS NULL THEN p.seq END) GROUP BY name, backend",
        (*rows, asked.name),
    )
    for name, backend, *sums in found:
        yield name, backend, UnitSums(*sums)
