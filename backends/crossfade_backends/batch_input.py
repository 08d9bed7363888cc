"""Reads a file of rows in chunks: Parquet by row groups, CSV and NDJSON by so many rows.

Rule: the chunks of a file are the same at each reading, so that a run that was interrupted can leave out those that it
has. A chunk is cheap to make and to send to another process; its rows are made there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

FORMATS = {".parquet": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


class BatchError(Exception):
    """The message names the file, and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """`number`: from 1 on, in the file. `reason`: why it cannot be read, "" if it can."""

    number: int
    values: dict[str, Any]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`first`: the number of its first row. `read`: how much of the file has been read with it, from 0 to 1.

    `content`: an Arrow batch, cells of CSV, or lines of NDJSON.
    """

    index: int
    first: int
    read: float
    columns: tuple[str, ...]
    content: Any

    def rows(self) -> Iterator[Row]:
        if not isinstance(self.content, list):
            for number, values in enumerate(self.content.to_pylist(), self.first):
                yield Row(number, {name: _whole(value) for name, value in values.items()})
        elif self.columns:
            for number, cells in enumerate(self.content, self.first):
                yield _of_cells(number, self.columns, cells)
        else:
            for number, line in enumerate(self.content, self.first):
                if line.strip():
                    yield _of_line(number, line)


def format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise BatchError(f"{path}: the name must end with {', '.join(FORMATS)}") from None


def chunks(path: Path, size: int, done: set[int]) -> Iterator[Chunk]:
    """All chunks but those in `done`. `size`: rows in one, at most."""
    reader = {"parquet": _parquet, "csv": _csv, "ndjson": _ndjson}[format_of(path)]
    try:
        yield from reader(path, size, done)
    except OSError as error:
        raise BatchError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BatchError(f"{path}: not UTF-8: {error.reason}") from None


def has_whole_keys(path: Path, key: str) -> bool:
    """Whether a Parquet file has integers in this column."""
    if format_of(path) != "parquet":
        return False
    arrow, parquet = pyarrow_modules(path)
    try:
        schema = parquet.read_schema(path)
    except arrow.ArrowException as error:
        raise BatchError(f"{path}: {error}") from None
    return key in schema.names and arrow.types.is_integer(schema.field(key).type)


def pyarrow_modules(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise BatchError(f"{path}: Parquet needs pyarrow: pip install 'crossfade[parquet]'") from None
    return pyarrow, parquet


def _parquet(path: Path, size: int, done: set[int]) -> Iterator[Chunk]:
    arrow, parquet = pyarrow_modules(path)
    try:
        with parquet.ParquetFile(path) as file:
            total = max(file.metadata.num_rows, 1)
            index = first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                its = range(index, index + -(-rows // size))
                if not done.issuperset(its):
                    batches = file.iter_batches(size, row_groups=[group])
                    for at, batch in zip(its, batches, strict=True):
                        begun = first + (at - index) * size
                        if at not in done:
                            yield Chunk(at, begun + 1, (begun + len(batch)) / total, (), batch)
                index, first = its.stop, first + rows
    except arrow.ArrowException as error:
        raise BatchError(f"{path}: {error}") from None


def _csv(path: Path, size: int, done: set[int]) -> Iterator[Chunk]:
    total = max(path.stat().st_size, 1)
    with path.open("rb") as source, TextIOWrapper(source, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            columns = tuple(next(reader, ()))
            if not columns:
                raise BatchError(f"{path}: has no first line with the names of the columns")
            index, first = 0, 1
            while cells := list(islice(reader, size)):
                if index not in done:
                    yield Chunk(index, first, min(source.tell() / total, 1.0), columns, cells)
                index, first = index + 1, first + len(cells)
        except csv.Error as error:
            raise BatchError(f"{path}:{reader.line_num}: {error}") from None


def _ndjson(path: Path, size: int, done: set[int]) -> Iterator[Chunk]:
    total = max(path.stat().st_size, 1)
    with path.open("rb") as file:
        index, first, read = 0, 1, 0
        while lines := list(islice(file, size)):
            read += sum(map(len, lines))
            if index not in done:
                yield Chunk(index, first, read / total, (), lines)
            index, first = index + 1, first + len(lines)


def _of_cells(number: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        return Row(
            number, {"cells": list(cells)}, f"has {len(cells)} cells, and there are {len(columns)} columns"
        )
    return Row(number, dict(zip(columns, map(_of_cell, columns, cells), strict=True)))


def _of_cell(column: str, cell: str) -> Any:
    """A key is a text, whatever it looks like; other cells are numbers where they look like one, and missing if empty."""
    if column == "customer_id":
        return cell
    if not cell:
        return None
    if "_" in cell:  # a number for Python alone
        return cell
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _of_line(number: int, line: bytes) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, {"line": line[:500].decode(errors="replace")}, f"not JSON: {error}")
    if not isinstance(values, dict):
        return Row(number, {"line": line[:500].decode(errors="replace")}, "not a JSON object")
    return Row(number, values)


def _whole(value: Any) -> Any:
    """Tables with gaps have their whole numbers as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
