"""Prediction logs as the control process writes them, for tests of what reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from crossfade.control.prediction_tables import id_hash, prepare, signed


class WrittenLog:
    """The log of one route, written by the schema."""

    def __init__(self, folder: Path, route: str = "churn") -> None:
        self.folder = folder
        self.connection = sqlite3.connect(folder / f"{route}.db", isolation_level=None)
        prepare(self.connection, 0.0)
        self.connection.execute("PRAGMA synchronous = OFF")  # a test need not survive the end of the machine
        self.backends: dict[str, int] = {}
        self.last = 0

    def backend(self, name: str) -> int:
        if name not in self.backends:
            self.backends[name] = len(self.backends) + 1
            self.connection.execute(
                "INSERT INTO backend (id, name) VALUES (?, ?)", (self.backends[name], name)
            )
        return self.backends[name]

    def add(  # noqa: PLR0913
        self,
        backend: str,
        version: int,
        logged_at: float,
        *,
        answered: str | None = "same",
        key: int | None = None,
        role: str = "champion",
        said: tuple[float | None, str | float | None] = (None, None),
        feedback: Mapping[str, float | str] = {},
        copies: Mapping[str, tuple[float | None, str | float | None]] = {},
    ) -> int:
        """Its place. `said`: score and label of the answer. Many arguments, as a row has many columns."""
        self.last += 1
        request = b"r-%d" % self.last
        by = self.backend(backend) if answered == "same" else self.backend(answered) if answered else None
        self.connection.execute(
            "INSERT INTO prediction VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 200, 0.01, 0, ?, ?, NULL)",
            (
                self.last,
                id_hash(request),
                request,
                self.backend(backend),
                by,
                role,
                version,
                None if key is None else signed(key),
                logged_at,
                logged_at,
                *said,
            ),
        )
        for name, value in feedback.items():
            self.label(self.last, name, value, logged_at)
        for name, (score, label) in copies.items():
            row = (self.last, self.backend(name), score, label)
            self.connection.execute("INSERT INTO copy VALUES (?, ?, ?, ?)", row)
        return self.last

    def label(self, seq: int, name: str, value: float | str, at: float) -> None:
        self.connection.execute("INSERT INTO feedback VALUES (?, ?, ?, ?, ?)", (seq, name, value, at, at))
