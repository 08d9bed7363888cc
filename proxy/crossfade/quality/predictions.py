"""Rows of `predictions`, as KServe v1, TensorFlow Serving and MLflow give them: by row, by column, or one value.

Rule: the declared names pick outputs; where nothing is declared, each row gives all that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from crossfade.quality.answer import Output
from crossfade.quality.json_document import ABSENT, value_at
from crossfade.quality.outputs import MOST_OUTPUTS, MOST_ROWS, RowBuilder, Wanted, output_of
from crossfade.quality.prediction import Path, Prediction
from crossfade.quality.unreadable import MISSING, SHAPE, SIZE, Problem

_UNNAMED: Final = frozenset(
    {"predictions", "outputs"}
)  # names under which a value without a column is declared


def read_predictions(predictions: Any, prediction: Prediction) -> RowBuilder:
    builder = RowBuilder()
    declared = declarations(prediction)
    for row in _rows(predictions):
        if isinstance(row, Problem):
            builder.note(row)
        elif isinstance(row, dict):
            builder.add([*_picked(row, declared)] if declared else [*_columns(row)])
        else:
            builder.add([*_unnamed(row, declared)] if declared else [output_of(row, "", "any")])
    return builder


def declarations(prediction: Prediction) -> tuple[tuple[Path, Wanted], ...]:
    declared: tuple[tuple[Path, Wanted], ...] = ((prediction.score, "score"), (prediction.label, "label"))
    return tuple([pair for pair in declared if pair[0]])


def _rows(predictions: Any) -> Iterable[Any]:
    if isinstance(predictions, list):
        return predictions[:MOST_ROWS]
    if not isinstance(predictions, dict):
        return [predictions]
    names, data = predictions.get("columns"), predictions.get("data")
    if isinstance(names, list) and isinstance(data, list):  # a data frame, split: pandas' `orient="split"`
        return _split_rows(names, data)
    if any(isinstance(column, list) for column in predictions.values()):
        return _column_rows(predictions)
    return [predictions]


def _split_rows(names: list[Any], data: list[Any]) -> Iterator[Any]:
    if len(names) > MOST_OUTPUTS:
        yield SIZE
        return
    spelled = [name if isinstance(name, str) else str(name)[:99] for name in names]
    for row in data[:MOST_ROWS]:
        if isinstance(row, list) and len(row) == len(spelled):
            yield dict(zip(spelled, row, strict=True))
        else:
            yield SHAPE


def _column_rows(columns: dict[str, Any]) -> Iterator[Any]:
    """A column that is no list is about the whole answer, so its value is that of each row."""
    if len(columns) > MOST_OUTPUTS:
        yield SIZE
        return
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    single = {name: column for name, column in columns.items() if name not in lists}
    if len(set(map(len, lists.values()))) > 1:
        yield SHAPE
        return
    for index in range(min(MOST_ROWS, len(next(iter(lists.values()))))):
        yield single | {name: column[index] for name, column in lists.items()}


def _picked(row: dict[str, Any], declared: Iterable[tuple[Path, Wanted]]) -> Iterator[Output | Problem]:
    for path, wanted in declared:
        name = ".".join(path)
        value = row.get(name, ABSENT)
        if value is ABSENT:
            value = value_at(row, path, ABSENT)
        yield MISSING if value is ABSENT else output_of(value, name, wanted)


def _unnamed(value: Any, declared: Iterable[tuple[Path, Wanted]]) -> Iterator[Output | Problem]:
    for path, wanted in declared:
        yield output_of(value, "", wanted) if len(path) == 1 and path[0] in _UNNAMED else MISSING


def _columns(row: dict[str, Any]) -> Iterator[Output | Problem]:
    """All outputs of a row. Null is read as a value that is absent: what belongs there is not known."""
    for index, (name, value) in enumerate(_flat(row, "")):
        if index > MOST_OUTPUTS:
            return  # one more than is read, so that the row is known to be too large
        if value is not None:
            yield output_of(value, name, "any")


def _flat(row: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Objects inside of the row as names with dots. The document's depth is limited, so this is too."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
