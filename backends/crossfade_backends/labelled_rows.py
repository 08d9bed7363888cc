"""Rows of the proxy's prediction log with their labels → samples to train on and to evaluate with.

Rule: rows are kept in the order of time, and the last quarter is held out: a model is asked about tomorrow. A customer who is
held out is not trained on. Rows that are no request of one customer, or have no label, are counted and left out.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from pydantic import ValidationError

from crossfade_backends.data import FEATURES, Sample
from crossfade_backends.rows import CustomerRow, as_matrix

HELD_OUT = 0.25
TIMEOUT = 60.0  # seconds without a byte
_MAX_LINE = 1 << 20


class _NoRedirects(HTTPRedirectHandler):
    """The token is for the proxy alone."""

    def redirect_request(self, *what: Any) -> None:
        return None


_OPENER = build_opener(_NoRedirects)


class NoRowsError(Exception):
    """The rows cannot be had, or are not enough to train on. The message says why."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    at: float
    customer: str
    row: CustomerRow
    churned: bool


@dataclass(slots=True)
class LabelledRows:
    """The newest rows that can be used, oldest first. `left_out`: how many others, by reason."""

    rows: list[LabelledRow]
    left_out: Counter[str] = field(default_factory=Counter)

    def split(self) -> tuple[Sample, Sample]:
        """To train on, and held out."""
        cut = len(self.rows) - round(len(self.rows) * HELD_OUT)
        held_out = self.rows[cut:]
        kept_back = {row.customer for row in held_out}
        return _sample([r for r in self.rows[:cut] if r.customer not in kept_back]), _sample(held_out)


def _sample(rows: list[LabelledRow]) -> Sample:
    features = as_matrix([row.row for row in rows]).reshape(len(rows), len(FEATURES))
    return Sample(features, np.array([row.churned for row in rows], dtype=np.int8))


def fetch(url: str, token: str) -> Iterator[bytes]:
    """The lines of `GET /api/v1/predictions/{route}`. Raises NoRowsError."""
    headers = {"Accept": "application/x-ndjson"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with _OPENER.open(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            while line := answer.readline(_MAX_LINE):
                yield line
    except HTTPError as error:
        raise NoRowsError(
            f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}"
        ) from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise NoRowsError(f"{url} cannot be read: {error}") from None


def read(lines: Iterable[bytes], label: str, most: int) -> LabelledRows:
    """`label`: the name of the feedback. `most`: rows that are kept, the newest."""
    kept: deque[LabelledRow] = deque(maxlen=most)
    out = LabelledRows([])
    for line in lines:
        if not line.strip():
            continue
        found = _row(line, label)
        if isinstance(found, str):
            out.left_out[found] += 1
        else:
            kept.append(found)
    out.rows = sorted(kept, key=lambda row: row.at)
    return out


def _row(line: bytes, label: str) -> LabelledRow | str:
    """Or the reason why it is left out."""
    try:
        record: Any = json.loads(line)
        at, feedback, body = float(record["at"]), record.get("feedback") or {}, record.get("input")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "no row of the log"
    churned = _truth(feedback.get(label))
    if churned is None:
        return "no label"
    try:
        row = CustomerRow.model_validate(body)
    except ValidationError:
        return "no input of one customer"
    return LabelledRow(at, f"{row.customer_id}", row, churned)


def _truth(value: Any) -> bool | None:
    """As the proxy judges labels: a number from 0.5 on is yes."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value >= 0.5
    return (
        {"true": True, "1": True, "false": False, "0": False}.get(value) if isinstance(value, str) else None
    )
