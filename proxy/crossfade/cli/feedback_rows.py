"""Rows of feedback in a file: CSV, NDJSON, JSON or Parquet, by its name. Each row comes as one line of NDJSON with its place.

Rule: a row that cannot be read is no end of the file: it is sent as it is, or comes as a `BadRow`, so that one wrong row
refuses only itself. A column that means nothing is an end: it may be a wrong name for one that does.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from crossfade.cli.exits import INVALID, USAGE, CommandFailed

FIELDS = ("request_id", "route", "key", "at", "name", "value", "label")
STANDARD_INPUT = "-"  # NDJSON
_TEXTS = ("request_id", "route", "name")  # never a number
_BATCH = 10_000  # rows of Parquet that are held at a time


class Line(NamedTuple):
    """`place`: in the file, counted from 1: a line, in JSON and Parquet the row."""

    place: int
    text: bytes


class BadRow(NamedTuple):
    place: int
    detail: str


class Wanted(NamedTuple):
    """`columns`: of fields that have other names in the file. `given`: values of fields that a row does not have."""

    columns: Mapping[str, str]
    given: Mapping[str, str]


class Source:
    """A file that is being read. `size` and `done` in the same unit: bytes or rows; 0: not known."""

    def __init__(self, name: str, wanted: Wanted) -> None:
        self.name = name
        self.wanted = wanted
        self.size = 0
        self.file: BinaryIO = sys.stdin.buffer
        self.rows_done = 0

    @property
    def done(self) -> int:
        if self.name == STANDARD_INPUT:
            return 0
        return self.rows_done or (self.size if self.file.closed else self.file.tell())

    def rows(self) -> Iterator[Line | BadRow]:
        """Raises CommandFailed."""
        if self.name == STANDARD_INPUT:
            yield from self._lines()
            return
        reader = _READERS.get(Path(self.name).suffix.lower())
        if reader is None:
            known = ", ".join(_READERS)
            raise CommandFailed(USAGE, f"{self.name}: the name must end in {known}; - reads NDJSON")
        with self._opened():
            yield from reader(self)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        try:
            with Path(self.name).open("rb") as self.file:
                self.size = Path(self.name).stat().st_size
                yield
        except OSError as error:
            raise CommandFailed(INVALID, f"{self.name}: {error.strerror or error}") from None

    def _lines(self) -> Iterator[Line]:
        for place, line in enumerate(self.file, 1):
            if line.strip():
                yield Line(place, self._complete(line))

    def _complete(self, line: bytes) -> bytes:
        """With the fields that were given. What is no JSON goes as it is: the proxy says what is wrong with it."""
        if not (self.wanted.given or self.wanted.columns):
            return line.strip()
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return line.strip()
        return json.dumps(self._named(row)).encode() if isinstance(row, dict) else line.strip()

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a row, by their own names."""
        columns = self.wanted.columns
        found = {field: row.get(column) for field, column in columns.items()} if columns else dict(row)
        present = {field: value for field, value in found.items() if value is not None}
        return {**self.wanted.given, **present}

    def _json(self) -> Iterator[Line]:
        """The whole document is held. What Python writes and JSON has not, such as NaN, the proxy refuses."""
        try:
            document = json.loads(self.file.read())
        except (ValueError, RecursionError) as error:
            raise CommandFailed(INVALID, f"{self.name}: not JSON: {error}") from None
        for place, row in enumerate(document if isinstance(document, list) else [document], 1):
            yield Line(place, json.dumps(self._named(row) if isinstance(row, dict) else row).encode())

    def _csv(self) -> Iterator[Line | BadRow]:
        text = TextIOWrapper(self.file, encoding="utf-8-sig", newline="")
        reader = csv.DictReader(text, strict=True)
        try:
            self._check_columns(reader.fieldnames or ())
            for row in reader:
                if None in row:
                    yield BadRow(reader.line_num, "more cells than columns")
                else:
                    cells = {name: cell for name, cell in row.items() if cell}
                    yield self._line(reader.line_num, cells, _value_of)
        except (csv.Error, UnicodeDecodeError) as error:
            raise CommandFailed(INVALID, f"{self.name}:{reader.line_num}: {error}") from None
        finally:
            text.detach()

    def _parquet(self) -> Iterator[Line | BadRow]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ModuleNotFoundError:
            raise CommandFailed(
                INVALID, f"{self.name}: Parquet needs the package pyarrow", "pip install 'crossfade[parquet]'"
            ) from None
        try:
            with ParquetFile(self.file) as parquet:
                self.size = parquet.metadata.num_rows
                names = parquet.schema_arrow.names
                self._check_columns(names)
                wanted = list(self.wanted.columns.values()) or names
                for batch in parquet.iter_batches(_BATCH, columns=wanted):
                    for row in batch.to_pylist():
                        self.rows_done += 1
                        yield self._line(self.rows_done, row, _plain)
        except ArrowException as error:
            raise CommandFailed(INVALID, f"{self.name}: {error}") from None

    def _line(self, place: int, row: Mapping[str, Any], read: Any) -> Line | BadRow:
        named = self._named(row)
        try:
            return Line(place, _dumped({field: read(field, value) for field, value in named.items()}))
        except ValueError as error:
            return BadRow(place, str(error))

    def _check_columns(self, names: Iterable[str]) -> None:
        from crossfade.config.problem import nearest

        names = list(names)
        columns = self.wanted.columns
        for column in columns.values():
            if column not in names:
                raise CommandFailed(INVALID, f"{self.name}:1: there is no column {column}")
        for name in names:
            if not columns and name not in FIELDS:
                similar = nearest(name, FIELDS)
                advice = (
                    f"Did you mean {similar}?" if similar else "Name the columns with --column FIELD=COLUMN."
                )
                raise CommandFailed(
                    INVALID, f"{self.name}:1: column {name} is none of {', '.join(FIELDS)}", advice
                )


def _dumped(row: object) -> bytes:
    """One line. Raises ValueError for what JSON has not, such as NaN."""
    try:
        return json.dumps(row, allow_nan=False, separators=(",", ":")).encode()
    except TypeError as error:
        raise ValueError(str(error)) from None


def _value_of(field: str, cell: str) -> Any:
    """A cell of CSV: `true`, `false` and numbers are that, where the field may be one."""
    if field in _TEXTS or field == "key":  # a key is hashed by its spelling
        return cell
    if field == "at":
        return _seconds(cell)
    if cell in ("true", "false", "True", "False", "TRUE", "FALSE"):
        return cell.lower() == "true"
    for kind in (int, float):
        try:
            found = kind(cell)
        except ValueError:
            continue
        return (
            found
            if cell.isascii() and "_" not in cell and found == found and abs(found) != _INFINITY
            else cell
        )
    return cell


_INFINITY = float("inf")


def _seconds(cell: str) -> float:
    """Seconds since the epoch, or a time of ISO 8601; one without a zone is UTC."""
    try:
        return float(cell)
    except ValueError:
        return _timestamp(datetime.fromisoformat(cell))


def _timestamp(time: datetime) -> float:
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _plain(field: str, value: Any) -> Any:
    """A value of Parquet as JSON has it."""
    if isinstance(value, datetime):
        return _timestamp(value)
    if isinstance(value, date):
        return _timestamp(datetime(value.year, value.month, value.day))
    if isinstance(value, Decimal):
        return float(value)
    if field in _TEXTS and isinstance(value, int):
        return str(value)
    return value


_READERS = {
    ".csv": Source._csv,
    ".ndjson": Source._lines,
    ".jsonl": Source._lines,
    ".json": Source._json,
    ".parquet": Source._parquet,
}
