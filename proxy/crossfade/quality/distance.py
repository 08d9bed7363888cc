"""How far two rows of outputs are from each other: 0 for equal ones, 1 for the furthest.

Rule: the distance of two values goes by their type. A value without a partner, of another type or shape, or that is no
number where one belongs, is at 1. It is symmetric. A row is at the mean distance of its outputs, an answer at that of its rows.
A reader tells a score from a number, a vector from an embedding and a label from a text by each value, so two of these on one
output are compared as the wider type.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from math import fsum, isfinite, sqrt
from operator import mul
from typing import Final

from crossfade.quality.answer import Output, Row, Value

LONGEST_TEXT: Final = 65_536  # characters of a text whose tokens are compared
# Words, single characters of scripts that write no spaces, and signs.
_TOKEN: Final = re.compile("[\u2e80-\ud7ff]|[^\\W\u2e80-\ud7ff]+|[^\\w\\s]")
NO_SPREAD: Final[Mapping[str, float]] = {}


def rows_distance(
    rows: Sequence[Row],
    others: Sequence[Row],
    spread: Mapping[str, float] = NO_SPREAD,
    ignored: Collection[str] = (),
) -> float:
    """The mean over rows; a row without a partner is at 1.

    `spread`: by the name of an output, how far the champion's numbers spread. It must be known before these rows, or a
    test of their distance is not valid. `ignored`: names of outputs that are not compared.
    """
    if not rows or not others:
        return float(bool(rows) != bool(others))
    n = max(len(rows), len(others))
    pairs = zip(rows, others, strict=False)
    found = fsum([row_distance(row, other, spread, ignored) for row, other in pairs])
    return (found + abs(len(rows) - len(others))) / n


def row_distance(
    row: Row, other: Row, spread: Mapping[str, float] = NO_SPREAD, ignored: Collection[str] = ()
) -> float:
    found = [_output_distance(a, b, spread) for a, b in _matched(row, other) if a.name not in ignored]
    return fsum(found) / len(found) if found else 0.0


def _matched(row: Row, other: Row) -> Iterator[tuple[Output, Output | None]]:
    """The outputs of both rows by name, and by place among those of one name; each output is in one pair."""
    if len(row) == len(other) and all(a.name == b.name for a, b in zip(row, other, strict=True)):
        yield from zip(row, other, strict=True)
        return
    ours, theirs = _by_name(row), _by_name(other)
    for name in ours | theirs:
        for a, b in zip_longest(ours.get(name, ()), theirs.get(name, ())):
            yield (b, None) if a is None else (a, b)


def _by_name(row: Row) -> dict[str, list[Output]]:
    out: dict[str, list[Output]] = {}
    for output in row:
        out.setdefault(output.name, []).append(output)
    return out


def _output_distance(a: Output, b: Output | None, spread: Mapping[str, float]) -> float:
    return 1.0 if b is None else value_distance(a, b, spread.get(a.name))


def value_distance(a: Output, b: Output, spread: float | None = None) -> float:
    x, y, kinds = a.value, b.value, {a.kind, b.kind}
    if isinstance(x, tuple) or isinstance(y, tuple):
        return _vectors_distance(x, y, kinds)
    if isinstance(x, str) and isinstance(y, str):
        return text_distance(x, y) if "text" in kinds else float(x != y)
    if isinstance(x, str | bool) or isinstance(y, str | bool):
        return float(type(x) is not type(y) or x != y)
    if kinds == {"label"}:
        return float(x != y)
    if not isfinite(x) or not isfinite(y):
        return 1.0
    return min(abs(x - y), 1.0) if kinds == {"score"} else number_distance(x, y, spread)


def _vectors_distance(x: Value, y: Value, kinds: Collection[str]) -> float:
    if not (isinstance(x, tuple) and isinstance(y, tuple)) or len(x) != len(y):
        return 1.0
    if not all(map(isfinite, x)) or not all(map(isfinite, y)):
        return 1.0
    return cosine_distance(x, y) if "embedding" in kinds else total_variation(x, y)


def number_distance(x: float, y: float, spread: float | None) -> float:
    """In units of the spread; without one, relative to both numbers."""
    if x == y:
        return 0.0
    scale = spread if spread is not None and spread > 0 else abs(x) + abs(y)
    return min(abs(x - y) / scale, 1.0)


def total_variation(x: Sequence[float], y: Sequence[float]) -> float:
    """Half of the sum of differences: of two distributions, the share that is elsewhere."""
    return min(fsum([abs(a - b) for a, b in zip(x, y, strict=True)]) / 2, 1.0)


def cosine_distance(x: Sequence[float], y: Sequence[float]) -> float:
    """1 − the cosine of the angle, and 1 from a right angle on."""
    if x == y:
        return 0.0
    x, y = _scaled(x), _scaled(y)
    lengths = sqrt(sum(map(mul, x, x))) * sqrt(sum(map(mul, y, y)))
    if not lengths:
        return 1.0
    cosine: float = sum(map(mul, x, y)) / lengths
    return min(max(1 - cosine, 0.0), 1.0)


def _scaled(x: Sequence[float]) -> Sequence[float]:
    """With 1 as the largest number, since the square of a large one is infinite."""
    largest = max(map(abs, x), default=0.0)
    return [a / largest for a in x] if largest else x


def text_distance(x: str, y: str) -> float:
    """The larger one of 1 − the Jaccard index of their tokens, and 1 − the ratio of their lengths."""
    if x == y:
        return 0.0
    ours, theirs = (set(_TOKEN.findall(text[:LONGEST_TEXT])) for text in (x, y))
    every = len(ours | theirs)
    jaccard = len(ours & theirs) / every if every else 1.0
    ratio = min(len(x), len(y)) / max(len(x), len(y))
    return 1 - min(jaccard, ratio)
