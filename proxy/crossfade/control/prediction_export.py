"""Rows of a prediction log as lines of JSON, for whoever trains the next model or looks for himself.

Rule: rows come in pages, each read by itself in the order of the log, so that no reader keeps the log from being pruned.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from crossfade.control.prediction_tables import newest_until, unsigned
from crossfade.quality.answer import Decision
from crossfade.scale import WHOLE

REPORTED = 3600.0  # seconds: a row is in the log by then, unless there was no control process

_SEQS = """
SELECT seq FROM prediction p WHERE seq > :after AND seq <= :last AND at >= :since AND at < :until
  AND (:labelled IS NULL OR :labelled = EXISTS (SELECT 1 FROM feedback f WHERE f.seq = p.seq))
"""
_NEWEST = f"SELECT min(seq) - 1 FROM ({_SEQS} ORDER BY seq DESC LIMIT :limit)"
_PAGE = f"""
SELECT seq, request_id, at, b.name, a.name, role, ledger_version, weights, key, status, seconds, blamed, score, label, segment,
  body FROM prediction JOIN backend b ON b.id = backend LEFT JOIN backend a ON a.id = answered
  LEFT JOIN ledger ON version = ledger_version LEFT JOIN input USING (seq)
  WHERE seq IN ({_SEQS} ORDER BY seq LIMIT :page) ORDER BY seq
"""


class Asked(NamedTuple):
    """`since` ≤ time of a row < `until`. `labelled`: only rows with feedback, or only those without. `limit`: the newest so many."""

    since: float = 0.0
    until: float = float("inf")
    labelled: bool | None = None
    limit: int | None = None


class Bounds(NamedTuple):
    """The rows that may be asked for: after < seq ≤ last."""

    after: int
    last: int


class Page(NamedTuple):
    """`lines`: rows, each with a newline. `after`: read on behind this row; None at the end."""

    lines: bytes
    after: int | None


class PredictionRow(msgspec.Struct):
    """One line. `backend`: the one assigned, with its `weight` in that version of the ledger, a share; null: not known any more.

    `key`: the sticky key's hash, in hexadecimal. `input` is the body of the request where that is JSON, else
    `input_base64` is.
    """

    request_id: str
    at: float
    backend: str
    answered_by: str | None
    role: str
    weight: float | None
    ledger_version: int
    key: str | None
    status: int
    seconds: float
    blamed: bool
    score: float | None
    label: Decision | None
    segment: list[str] | None
    feedback: dict[str, int | float | str]
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input_base64: str | msgspec.UnsetType = msgspec.UNSET


def bounds(connection: sqlite3.Connection, asked: Asked) -> Bounds:
    """`at` is before the time of writing, by which the log is in order: so its beginning is exact, and its end is not."""
    first = newest_until(connection, asked.since) if asked.since > 0 else 0
    (last,) = connection.execute("SELECT IFNULL(MAX(seq), 0) FROM prediction").fetchone()
    if asked.until + REPORTED < float("inf"):
        last = newest_until(connection, asked.until + REPORTED)
    found = Bounds(first, last)
    if asked.limit is not None:
        (after,) = connection.execute(_NEWEST, _where(found, asked) | {"limit": asked.limit}).fetchone()
        found = Bounds(last if after is None else after, last)
    return found


def page(connection: sqlite3.Connection, asked: Asked, within: Bounds, most: int) -> Page:
    """At most so many rows."""
    rows = connection.execute(_PAGE, _where(within, asked) | {"page": most}).fetchall()
    if not rows:
        return Page(b"", None)
    feedback: dict[int, dict[str, int | float | str]] = {}
    for seq, name, value in connection.execute(
        "SELECT seq, name, value FROM feedback WHERE seq BETWEEN ? AND ?", (rows[0][0], rows[-1][0])
    ):
        feedback.setdefault(seq, {})[name] = value
    lines = [msgspec.json.encode(_row(row, feedback.get(row[0], {}))) + b"\n" for row in rows]
    return Page(b"".join(lines), rows[-1][0] if len(rows) == most else None)


def _where(within: Bounds, asked: Asked) -> dict[str, object]:
    return {**within._asdict(), "since": asked.since, "until": asked.until, "labelled": asked.labelled}


def _row(row: tuple[object, ...], feedback: Mapping[str, int | float | str]) -> PredictionRow:
    _, request_id, at, backend, answered, role, version, weights, key, status, seconds, blamed, score, label, segment, body = row  # fmt: skip
    found = msgspec.convert(
        {
            "request_id": request_id.decode("ascii", "replace") if isinstance(request_id, bytes) else "",
            "at": at,
            "backend": backend,
            "answered_by": answered,
            "role": role,
            "weight": _weight(weights, backend),
            "ledger_version": version,
            "key": f"{unsigned(key):016x}" if isinstance(key, int) else None,
            "status": status,
            "seconds": seconds,
            "blamed": bool(blamed),
            "score": score,
            "label": label,
            "segment": msgspec.json.decode(segment) if isinstance(segment, str) else None,
            "feedback": feedback,
        },
        PredictionRow,
    )
    if isinstance(body, bytes):
        text = _one_line(body)
        if text is None:
            found.input_base64 = b64encode(body).decode()
        else:
            found.input = msgspec.Raw(text)
    return found


def _weight(weights: object, backend: object) -> float | None:
    return msgspec.json.decode(weights).get(backend, 0) / WHOLE if isinstance(weights, str) else None


def _one_line(body: bytes) -> bytes | None:
    """The same JSON without line breaks; None if it is none."""
    try:
        msgspec.json.decode(body)
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
