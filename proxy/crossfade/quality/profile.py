"""A profile: what the inputs and scores of a model look like, field by field, to compare live traffic with.

Rule: a profile is counts, so it is small and says little of single customers; `sample` alone holds rows, where it is kept. Its
JSON has a format number, and is written by model builders too, who know nothing of this package (docs/drift.md).
"""

from __future__ import annotations

from itertools import pairwise
from math import isfinite

import msgspec

FORMAT = 1
MOST_FIELDS = 200
MOST_CATEGORIES = 50  # of a field; the others are counted together
MOST_CUTS = 200

Scalar = bool | int | float | str | None


class NumberField(msgspec.Struct, frozen=True, tag="number", tag_field="type"):
    """`n` numbers; `missing`: null or absent; `other`: of another type. `counts`: numbers in (cuts[i−1], cuts[i]], so one more.

    `low` and `high`: the least and the largest number.
    """

    n: int
    cuts: tuple[float, ...]
    counts: tuple[int, ...]
    low: float
    high: float
    missing: int = 0
    other: int = 0


class CategoryField(msgspec.Struct, frozen=True, tag="category", tag_field="type"):
    """`counts` by value, `true` and `false` for booleans; `rest`: of values that are not named."""

    n: int
    counts: dict[str, int]
    rest: int = 0
    missing: int = 0
    other: int = 0


class TextField(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Texts of too many values to count, as names and ids: only missing values and other types are watched."""

    n: int
    missing: int = 0
    other: int = 0


Field = NumberField | CategoryField | TextField


class Profile(msgspec.Struct, frozen=True):
    """`rows` seen. `score`: of the model's own scores. `loss`: its mean loss on `loss_n` rows with labels that it was not trained on.

    `sample`: rows in the order of `columns`, drawn at random, for the test of all fields together; none if nobody keeps them.
    """

    format: int
    rows: int
    fields: dict[str, Field]
    name: str = ""
    created: str = ""
    score: NumberField | None = None
    loss: float | None = None
    loss_n: int = 0
    columns: tuple[str, ...] = ()
    sample: tuple[tuple[Scalar, ...], ...] = ()


class BadProfile(ValueError):
    """The message says what is wrong, and where."""


_DECODER: msgspec.json.Decoder[Profile] = msgspec.json.Decoder(Profile)


def read_profile(data: bytes) -> Profile:
    """Raises BadProfile."""
    try:
        known = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        number = msgspec.json.decode(known["format"], type=int) if "format" in known else None
        if number != FORMAT:
            raise BadProfile(f"format: must be {FORMAT}, not {number}")
        profile = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadProfile(f"no profile: {error}") from None
    _check(profile)
    return profile


def _check(profile: Profile) -> None:
    if not profile.fields and profile.score is None:
        raise BadProfile("fields: has none")
    if len(profile.fields) > MOST_FIELDS:
        raise BadProfile(f"fields: must be at most {MOST_FIELDS}, not {len(profile.fields)}")
    for name, field in profile.fields.items():
        _check_field(f"fields.{name}", field)
        if field.n + field.missing + field.other > profile.rows:
            raise BadProfile(f"fields.{name}: counts more values than the {profile.rows} rows")
    if profile.score is not None:
        _check_field("score", profile.score)
    if profile.loss is not None and not 0 <= profile.loss <= 1:
        raise BadProfile(f"loss: must be from 0 to 1, not {profile.loss:g}")
    for i, row in enumerate(profile.sample):
        if len(row) != len(profile.columns):
            raise BadProfile(f"sample.{i}: has {len(row)} values for {len(profile.columns)} columns")


def _check_field(place: str, field: Field) -> None:
    counts = tuple(field.counts.values()) if isinstance(field, CategoryField) else ()
    if isinstance(field, NumberField):
        counts = field.counts
        if len(field.counts) != len(field.cuts) + 1:
            raise BadProfile(f"{place}.counts: must be one more than the {len(field.cuts)} cuts")
        if len(field.cuts) > MOST_CUTS:
            raise BadProfile(f"{place}.cuts: must be at most {MOST_CUTS}, not {len(field.cuts)}")
        if not all(isfinite(cut) for cut in field.cuts) or any(a >= b for a, b in pairwise(field.cuts)):
            raise BadProfile(f"{place}.cuts: must rise")
    if isinstance(field, CategoryField) and len(field.counts) > MOST_CATEGORIES:
        raise BadProfile(f"{place}.counts: must be at most {MOST_CATEGORIES}, not {len(field.counts)}")
    rest = field.rest if isinstance(field, CategoryField) else 0
    if min((field.n, field.missing, field.other, rest, *counts)) < 0:
        raise BadProfile(f"{place}: counts must not be negative")
    if not isinstance(field, TextField) and sum(counts) + rest != field.n:
        raise BadProfile(f"{place}.counts: add up to {sum(counts) + rest}, not to n, which is {field.n}")


def write_profile(profile: Profile) -> bytes:
    return msgspec.json.encode(profile)
