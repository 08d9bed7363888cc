"""Live values beside a profile: counts by its cuts and categories. Adding up is merging.

Rule: a sketch is as large as its profile, however many rows it has seen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import msgspec

from crossfade.quality.profile import CategoryField, Field, NumberField, Profile
from crossfade.quality.profiling import category_of, type_of

MOST_NAMES = 20  # of values and fields that the profile does not have
LONGEST_NAME = 100  # characters


class FieldCounts(msgspec.Struct, array_like=True):
    """`counts`: by bin of numbers, one more than cuts; of categories in the profile's order, then all others; of texts one.

    `unseen`: some of those others, by value.
    """

    counts: list[int]
    missing: int = 0
    other: int = 0
    low: float | None = None
    high: float | None = None
    unseen: dict[str, int] = {}

    @property
    def n(self) -> int:
        return sum(self.counts)

    def add(self, more: FieldCounts) -> None:
        self.counts = [a + b for a, b in zip(self.counts, more.counts, strict=True)]
        self.missing += more.missing
        self.other += more.other
        self.low = min((x for x in (self.low, more.low) if x is not None), default=None)
        self.high = max((x for x in (self.high, more.high) if x is not None), default=None)
        self.unseen = _some(self.unseen, more.unseen)


class Sketch(msgspec.Struct, array_like=True):
    """`rows` of inputs by field; `scores` by backend; `new`: fields that the profile does not have."""

    rows: int = 0
    fields: dict[str, FieldCounts] = {}
    scores: dict[str, FieldCounts] = {}
    new: dict[str, int] = {}

    @property
    def is_empty(self) -> bool:
        return not self.rows and not self.scores

    def add(self, more: Sketch) -> None:
        self.rows += more.rows
        for mine, theirs in ((self.fields, more.fields), (self.scores, more.scores)):
            for name, counts in theirs.items():
                mine.setdefault(name, FieldCounts([0] * len(counts.counts))).add(counts)
        self.new = _some(self.new, more.new)

    def add_row(self, profile: Profile, row: Mapping[str, object]) -> None:
        self.rows += 1
        for name, field in profile.fields.items():
            found = self.fields.get(name)
            if found is None:
                found = self.fields[name] = empty_counts(field)
            add_value(found, field, row.get(name))
        for name in row:
            if name not in profile.fields and (name in self.new or len(self.new) < MOST_NAMES):
                self.new[name[:LONGEST_NAME]] = self.new.get(name[:LONGEST_NAME], 0) + 1

    def add_score(self, field: NumberField, backend: str, score: float) -> None:
        add_value(self.scores.setdefault(backend, empty_counts(field)), field, score)


def empty_counts(field: Field) -> FieldCounts:
    match field:
        case NumberField():
            return FieldCounts([0] * len(field.counts))
        case CategoryField():
            return FieldCounts([0] * (len(field.counts) + 1))
        case _:
            return FieldCounts([0])


def add_value(found: FieldCounts, field: Field, value: object) -> None:
    kind = type_of(value)
    if kind == "missing":
        found.missing += 1
    elif kind != ("number" if isinstance(field, NumberField) else "category"):
        found.other += 1
    elif isinstance(field, NumberField):
        assert isinstance(value, int | float)
        number = float(value)
        found.counts[bisect_left(field.cuts, number)] += 1
        found.low = number if found.low is None else min(found.low, number)
        found.high = number if found.high is None else max(found.high, number)
    elif isinstance(field, CategoryField):
        _add_category(found, field, category_of(value))
    else:
        found.counts[0] += 1


def _add_category(found: FieldCounts, field: CategoryField, value: str) -> None:
    for index, known in enumerate(field.counts):
        if known == value:
            found.counts[index] += 1
            return
    found.counts[-1] += 1
    name = value[:LONGEST_NAME]
    if name in found.unseen or len(found.unseen) < MOST_NAMES:
        found.unseen[name] = found.unseen.get(name, 0) + 1


def _some(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """The most frequent of both together."""
    found = {name: counts.get(name, 0) + more.get(name, 0) for name in {**counts, **more}}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMES])
