"""Makes a profile of rows: the type of each field, its cuts or categories, and their counts.

Rule: what is counted of a live value (`sketch`) is what is counted here, so the same rows give the same counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Literal

from crossfade.quality.profile import (
    FORMAT,
    MOST_CATEGORIES,
    MOST_FIELDS,
    CategoryField,
    Field,
    NumberField,
    Profile,
    Scalar,
    TextField,
)

PERCENTILES = 100
_FEW_VALUES = 0.9  # a field is a category if its most frequent values have this share

Type = Literal["number", "category", "missing", "other"]
Row = Mapping[str, object]


def type_of(value: object) -> Type:
    """NaN and infinity are no values, as models can do nothing with them."""
    if value is None:
        return "missing"
    if isinstance(value, bool | str):
        return "category"
    if isinstance(value, int | float):
        try:
            return "number" if isfinite(value) else "missing"
        except OverflowError:  # an int beyond all floats
            return "other"
    return "other"


def category_of(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def profile_of(
    rows: Sequence[Row],
    scores: Sequence[float] = (),
    name: str = "",
    created: str = "",
    sampled: Iterable[Row] = (),
) -> Profile:
    """`sampled`: rows to keep, drawn at random by the caller. Fields beyond the limit are left out, the last names first."""
    names = sorted({name for row in rows for name in row})[:MOST_FIELDS]
    fields = {name: field_of([row.get(name) for row in rows]) for name in names}
    columns = tuple(name for name in names if not isinstance(fields[name], TextField))
    sample = tuple(tuple(scalar_of(row.get(column)) for column in columns) for row in sampled)
    return Profile(
        FORMAT,
        len(rows),
        fields,
        name,
        created,
        score_field(scores),
        columns=columns if sample else (),
        sample=sample,
    )


def scalar_of(value: object) -> Scalar:
    """What is no number and no category counts as missing in a sample."""
    kind = type_of(value)
    return value if kind in ("number", "category") and isinstance(value, bool | int | float | str) else None


def score_field(scores: Sequence[float]) -> NumberField | None:
    numbers = [score for score in scores if type_of(score) == "number"]
    return number_field(numbers, 0, 0) if numbers else None


def field_of(values: Sequence[object]) -> Field:
    """Of the type that most values have; those of the other type count as `other`."""
    types = [type_of(value) for value in values]
    found = Counter(types)
    missing, other = found["missing"], found["other"]
    if found["number"] and found["number"] >= found["category"]:
        numbers = [
            float(value)
            for value, kind in zip(values, types, strict=True)
            if kind == "number" and isinstance(value, int | float)
        ]
        return number_field(numbers, missing, other + found["category"])
    texts = [category_of(value) for value, kind in zip(values, types, strict=True) if kind == "category"]
    return category_field(texts, missing, other + found["number"])


def number_field(numbers: Sequence[float], missing: int, other: int) -> NumberField:
    """Cuts at the percentiles, each once. At least one number."""
    ordered = sorted(numbers)
    n = len(ordered)
    ranks = [max(-(-n * k // PERCENTILES) - 1, 0) for k in range(1, PERCENTILES)]
    cuts = sorted({ordered[rank] for rank in ranks})
    counts = [0] * (len(cuts) + 1)
    for value in ordered:
        counts[bisect_left(cuts, value)] += 1
    return NumberField(n, tuple(cuts), tuple(counts), ordered[0], ordered[-1], missing, other)


def category_field(texts: Sequence[str], missing: int, other: int) -> CategoryField | TextField:
    counts = Counter(texts).most_common(MOST_CATEGORIES)
    named, n = sum(count for _, count in counts), len(texts)
    if named < n * _FEW_VALUES:
        return TextField(n, missing, other)
    return CategoryField(n, dict(counts), n - named, missing, other)
