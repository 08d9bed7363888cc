"""What a batch has so far: `OUT.partial/` with a part for each chunk that is done, and how they become one file.

Rule: a part counts once its `.json` is there, which is written last; all files get their names when they are complete. So a run
that was killed at any time goes on at the first chunk that it has not, and OUT is never half a file.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from crossfade_backends.batch_input import BatchError, pyarrow_modules
from crossfade_backends.locks import try_lock
from crossfade_backends.registry import write_durably

COLUMNS = ("customer_id", "churn_probability", "risk_level", "model_version", "prediction_date")
BINS = 100  # of the distribution of scores


@dataclass(frozen=True, slots=True)
class Scored:
    """One row of the output, but for the date, which is that of the run."""

    customer_id: str | int
    churn_probability: float
    risk_level: str
    model_version: str


@dataclass(slots=True)
class Totals:
    """Of one part, or of all. `bins`: how many scores are in each hundredth."""

    rows: int = 0
    bad: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    risk_levels: Counter[str] = field(default_factory=Counter)
    score_sum: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * BINS)

    def count(self, scored: Sequence[Scored], bad: int) -> None:
        self.rows += len(scored)
        self.bad += bad
        for row in scored:
            self.versions[row.model_version] += 1
            self.risk_levels[row.risk_level] += 1
            self.score_sum += row.churn_probability
            self.bins[min(int(row.churn_probability * BINS), BINS - 1)] += 1

    def add(self, part: dict[str, Any]) -> None:
        self.rows += part["rows"]
        self.bad += part["bad"]
        self.versions.update(part["versions"])
        self.risk_levels.update(part["risk_levels"])
        self.score_sum += part["score_sum"]
        self.bins = [one + more for one, more in zip(self.bins, part["bins"], strict=True)]

    def as_part(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name in ("rows", "bad", "versions", "risk_levels", "score_sum", "bins")
        }

    def quantile(self, share: float) -> float | None:
        """The upper edge of the hundredth in which it is."""
        seen = 0
        for index, n in enumerate(self.bins, 1):
            seen += n
            if n and seen >= share * self.rows:
                return index / BINS
        return None


class Parts:
    """`run`: what must be the same for a run that goes on, and `date`. `whole_keys`: customer_id is an integer."""

    def __init__(self, out: Path, kind: str, whole_keys: bool) -> None:
        self.out = out
        self.kind = kind
        self.whole_keys = whole_keys
        self.folder = out.with_name(f"{out.name}.partial")
        self.bad_file = out.with_name(f"{out.name}.bad.ndjson")
        self.date = ""
        self.lock: int | None = None  # a descriptor

    def begin(self, run: dict[str, Any], today: date, restart: bool) -> set[int]:
        """The chunks that are done already. Raises BatchError if another run has them, or had another input or model."""
        if restart:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock = try_lock(self.folder / "lock")
        except OSError as error:  # of a file system without locks, for one
            raise BatchError(f"{self.folder} cannot be locked: {error.strerror}") from None
        if self.lock is None:
            raise BatchError(f"{self.folder}: another run writes it")
        before = self.folder / "run.json"
        if before.exists():
            known = json.loads(before.read_bytes())
            self.date = known.pop("date")
            if differing := [name for name in run if known.get(name) != run[name]]:
                name = differing[0]
                raise BatchError(
                    f"{self.folder}: the run that was interrupted had {name} {known.get(name)!r}, not {run[name]!r}; "
                    "--restart begins again"
                )
        else:
            self.date = today.isoformat()
            self._write("run.json", json.dumps(run | {"date": self.date}).encode())
        return {int(path.stem) for path in self.folder.glob("[0-9]*.json")}

    def write(self, index: int, scored: Sequence[Scored], bad: Sequence[dict[str, Any]]) -> None:
        """Durably: the mark of a part must not outlive its rows."""
        name = f"{index:08}"
        if bad:
            lines = "".join(json.dumps(row, default=str) + "\n" for row in bad)
            self._write(f"{name}.bad", lines.encode())
        self._write(f"{name}.part", self.encoded(scored))
        totals = Totals()
        totals.count(scored, len(bad))
        self._write(f"{name}.json", json.dumps(totals.as_part()).encode())

    def encoded(self, scored: Sequence[Scored]) -> bytes:
        rows = (
            (s.customer_id, s.churn_probability, s.risk_level, s.model_version, self.date) for s in scored
        )
        if self.kind == "csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            return text.getvalue().encode()
        if self.kind == "ndjson":
            return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows).encode()
        return self._parquet(scored)

    def _parquet(self, scored: Sequence[Scored]) -> bytes:
        arrow, parquet = pyarrow_modules(self.out)
        key = int if self.whole_keys else str
        table = arrow.table(
            [
                arrow.array(
                    [key(s.customer_id) for s in scored], arrow.int64() if self.whole_keys else arrow.string()
                ),
                arrow.array([s.churn_probability for s in scored], arrow.float64()),
                arrow.array([s.risk_level for s in scored], arrow.string()),
                arrow.array([s.model_version for s in scored], arrow.string()),
                arrow.array([date.fromisoformat(self.date)] * len(scored), arrow.date32()),
            ],
            names=list(COLUMNS),
        )
        sink = arrow.BufferOutputStream()
        parquet.write_table(table, sink)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def finish(self) -> Totals:
        """OUT, the bad rows beside it if there are any, and no parts any more."""
        totals = Totals()
        for mark in self._files("json"):
            totals.add(json.loads(mark.read_bytes()))
        if totals.bad:
            self._join(self._files("bad"), self.bad_file, b"")
        else:
            self.bad_file.unlink(missing_ok=True)
        if self.kind == "parquet":
            self._join_parquet()
        else:
            self._join(
                self._files("part"),
                self.out,
                b"" if self.kind == "ndjson" else ",".join(COLUMNS).encode() + b"\n",
            )
        self.close()
        shutil.rmtree(self.folder)
        return totals

    def close(self) -> None:
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def _files(self, suffix: str) -> list[Path]:
        return sorted(self.folder.glob(f"[0-9]*.{suffix}"))

    def _join(self, parts: Iterable[Path], target: Path, head: bytes) -> None:
        staged = self.folder / "joined"
        with staged.open("wb") as file:
            file.write(head)
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)

    def _join_parquet(self) -> None:
        """A row group for each part."""
        _, parquet = pyarrow_modules(self.out)
        staged = self.folder / "joined"
        parts = self._files("part")
        tables: Iterator[Any] = (parquet.read_table(part) for part in parts)
        first = next(tables, None)
        if first is None:
            write_durably(staged, self._parquet([]))
        else:
            with parquet.ParquetWriter(staged, first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table)
            with staged.open("rb") as file:
                os.fsync(file.fileno())
        staged.replace(self.out)

    def _write(self, name: str, data: bytes) -> None:
        staged = self.folder / f".{name}"
        write_durably(staged, data)
        staged.replace(self.folder / name)
