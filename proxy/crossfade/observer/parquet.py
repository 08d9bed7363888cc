"""Kept pairs as Parquet: the same fields as the lines that they are made of, compressed with zstd.

The package pyarrow is imported with the first file that is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from crossfade.quality.keep import KeptPair

BATCH = 4_194_304  # bytes of lines that are decoded at a time: a row group
_DECODER: Final = msgspec.json.Decoder(KeptPair)


def as_parquet(lines: Path) -> bytes:
    """A whole Parquet file. Raises OSError where `lines` cannot be read.

    What is no line of a pair is left out: the last one, where its writer was killed or its disk was full.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = schema_of(pyarrow)
    sink = pyarrow.BufferOutputStream()
    with lines.open("rb") as file, ParquetWriter(sink, schema, compression="zstd") as writer:
        for pairs in _batches(file):
            columns = [pyarrow.array(_column(pairs, field.name), field.type) for field in schema]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
    written: bytes = sink.getvalue().to_pybytes()
    return written


def schema_of(pyarrow: Any) -> Any:
    """The fields of KeptPair. `pyarrow`: the module."""
    types = {
        "at": pyarrow.float64(),
        "key": pyarrow.uint64(),
        "changed": pyarrow.bool_(),
        "segments": pyarrow.map_(pyarrow.string(), pyarrow.string()),
        "distance": pyarrow.float64(),
    }
    kinds = {"status": pyarrow.int32(), "seconds": pyarrow.float64()}
    names = KeptPair.__struct_fields__
    return pyarrow.schema(
        [(name, types.get(name) or kinds.get(name.rpartition("_")[2]) or pyarrow.string()) for name in names]
    )


def _batches(file: BinaryIO) -> Iterator[list[KeptPair]]:
    while lines := file.readlines(BATCH):
        yield list(_pairs(lines))


def _pairs(lines: Iterable[bytes]) -> Iterator[KeptPair]:
    for line in lines:
        try:
            yield _DECODER.decode(line)
        except msgspec.MsgspecError:
            continue


def _column(pairs: list[KeptPair], name: str) -> list[Any]:
    values = [getattr(pair, name) for pair in pairs]
    return [list(value.items()) for value in values] if name == "segments" else values
