"""Rows of training data in a file: CSV, NDJSON, JSON or Parquet, by its name, as a model would get them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from crossfade.cli.exits import INVALID, USAGE, CommandFailed

Row = dict[str, Any]
_BATCH = 10_000  # rows of Parquet that are held at a time
_BOOLEANS = {"true": True, "false": False}


def training_rows(name: str) -> Iterator[Row]:
    """Raises CommandFailed. Nested values have paths as names, as in requests."""
    reader = _READERS.get(Path(name).suffix.lower())
    if reader is None:
        raise CommandFailed(USAGE, f"--from {name}: must be live, or end in {', '.join(_READERS)}")
    try:
        yield from reader(name)
    except OSError as error:
        raise CommandFailed(INVALID, f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CommandFailed(INVALID, f"{name}: not UTF-8: {error.reason}") from None


def _csv(name: str) -> Iterator[Row]:
    with open(name, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row:
                    raise CommandFailed(INVALID, f"{name}:{reader.line_num}: more cells than columns")
                yield {column: value_of(cell) for column, cell in row.items()}
        except csv.Error as error:
            raise CommandFailed(INVALID, f"{name}:{reader.line_num}: {error}") from None


def value_of(cell: str | None) -> Any:
    """A cell of CSV: empty is missing; numbers, `true` and `false` are that."""
    if not cell:
        return None
    if cell.lower() in _BOOLEANS:
        return _BOOLEANS[cell.lower()]
    try:
        return float(cell)
    except ValueError:
        return cell


def _ndjson(name: str) -> Iterator[Row]:
    with open(name, "rb") as file:
        for place, line in enumerate(file, 1):
            if line.strip():
                yield from _rows(f"{name}:{place}", line)


def _json(name: str) -> Iterator[Row]:
    yield from _rows(name, Path(name).read_bytes())


def _rows(place: str, text: bytes) -> Iterator[Row]:
    from crossfade.quality.inputs import rows_of

    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(INVALID, f"{place}: not JSON: {error}") from None
    documents = document if isinstance(document, list) else [document]
    for each in documents:
        if not isinstance(each, dict):
            raise CommandFailed(INVALID, f"{place}: each row must be an object")
        yield from rows_of([each])


def _parquet(name: str) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise CommandFailed(
            INVALID, f"{name}: Parquet needs the package pyarrow", "pip install 'crossfade[parquet]'"
        ) from None
    try:
        with ParquetFile(name) as parquet:
            for batch in parquet.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    yield {column: _plain(value) for column, value in row.items()}
    except ArrowException as error:
        raise CommandFailed(INVALID, f"{name}: {error}") from None


def _plain(value: Any) -> Any:
    """As JSON would say it."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | datetime) else value


_READERS: dict[str, Callable[[str], Iterator[Row]]] = {
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".json": _json,
    ".parquet": _parquet,
}
