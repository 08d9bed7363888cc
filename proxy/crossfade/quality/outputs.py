"""From one decoded value of an answer to a typed output.

Rule: what is declared decides the type. Without a declaration a whole number, a short text, true and false are labels;
a number with a fraction is a score inside [0, 1] and a number outside. A list of numbers is a vector of scores where
all are inside [0, 1] or it is declared, else an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, Literal

from crossfade.quality.answer import Answer, Output, Row
from crossfade.quality.unreadable import MISSING, NOT_A_NUMBER, RANGE, SHAPE, SIZE, TYPE, Problem

LARGEST_SCORE: Final = 1e300  # a number that is not below it is out of range
LONGEST_LABEL: Final = 256  # characters; a longer one is a text
LONGEST_UNDECLARED: Final = 64  # the same where no label is declared
LONGEST_VECTOR: Final = 4096
MOST_ROWS: Final = 10_000  # of a batch; the rows behind them are not read
MOST_OUTPUTS: Final = 256  # of a row
_ROUNDING: Final = 1e-6  # that a share may be above 1 or below 0

Wanted = Literal["any", "score", "label"]  # what the configuration declares a value to be


def output_of(value: Any, name: str, wanted: Wanted) -> Output | Problem:
    kind = type(value)
    if kind is float or kind is int:
        if wanted == "label" or (kind is int and wanted == "any"):
            return _numeric_label(value, name)
        if -LARGEST_SCORE < value < LARGEST_SCORE:
            return Output("score" if 0 <= value <= 1 else "number", value, name)
        return RANGE if kind is int or isfinite(value) else NOT_A_NUMBER
    if kind is str:
        if wanted == "score":
            return TYPE
        longest = LONGEST_LABEL if wanted == "label" else LONGEST_UNDECLARED
        return Output("label" if len(value) <= longest else "text", value, name)
    if kind is bool:
        return TYPE if wanted == "score" else Output("label", value, name)
    if value is None:
        return MISSING if wanted == "label" else NOT_A_NUMBER
    return _vector(value, name, wanted) if kind is list else TYPE


def _numeric_label(value: int | float, name: str) -> Output | Problem:
    if -LARGEST_SCORE < value < LARGEST_SCORE:
        return Output("label", value, name)
    return RANGE if isinstance(value, int) or isfinite(value) else NOT_A_NUMBER


def _vector(values: list[Any], name: str, wanted: Wanted) -> Output | Problem:
    """Lists inside of lists are read as one; one value alone is no vector."""
    if len(values) == 1:
        inner: Any = values
        while isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]
        return output_of(inner, name, wanted)
    flat = flattened(values, LONGEST_VECTOR)
    if isinstance(flat, Problem):
        return flat
    return vector_of(flat, name, wanted)


def vector_of(values: Sequence[Any], name: str, wanted: Wanted) -> Output | Problem:
    """Of a flat list with more or less than one value."""
    if not values:
        return SHAPE
    if len(values) > LONGEST_VECTOR:
        return SIZE
    kinds = set(map(type, values))
    if kinds == {str} and wanted != "score":
        return Output("text", "\n".join(values), name)
    if type(None) in kinds:
        return NOT_A_NUMBER
    if not kinds <= {int, float, bool}:
        return TYPE
    try:
        numbers = tuple(map(float, values))
    except OverflowError:  # a whole number without end
        return RANGE
    if not all(map(isfinite, numbers)):
        return NOT_A_NUMBER
    least, largest = min(numbers), max(numbers)
    if least <= -LARGEST_SCORE or largest >= LARGEST_SCORE:
        return RANGE
    shares = wanted != "any" or (least >= -_ROUNDING and largest <= 1 + _ROUNDING)
    return Output("vector" if shares else "embedding", numbers, name)


def flattened(values: list[Any], most: int) -> list[Any] | Problem:
    """Lists inside of lists as one list, in the order of the document."""
    while any(isinstance(value, list) for value in values):
        flat: list[Any] = []
        for value in values:
            if isinstance(value, list):
                flat += value
            else:
                flat.append(value)
            if len(flat) > most:
                return SIZE
        values = flat
    return values if len(values) <= most else SIZE


class RowBuilder:
    """The rows of one answer. The first error, and the first reason why something was not read, stand for the answer."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.error = ""
        self.unread = ""

    def add(self, outputs: Sequence[Output | Problem]) -> None:
        row = []
        for output in outputs[:MOST_OUTPUTS]:
            if isinstance(output, Problem):
                self.note(output)
            else:
                row.append(output)
        if len(outputs) > MOST_OUTPUTS:
            self.note(SIZE)
        self.rows.append(tuple(row))

    def note(self, problem: Problem) -> None:
        self.error = self.error or problem.error
        self.unread = self.unread or problem.unread

    def answer(self, document: Any) -> Answer:
        return Answer(tuple(self.rows), self.error, self.unread, document)
