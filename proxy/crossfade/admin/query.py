"""The query of a request as a struct: a field for each parameter, with its limits and its default.

Rule: an unknown parameter, one that is given twice, and a value out of its limits are refused with the name of the parameter.
"""

from __future__ import annotations

import re
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from aiohttp import web

from crossfade.config.problem import listed, nearest
from crossfade.control.refusal import Invalid
from crossfade.log_lines import printable

BOOLS = ("true", "false")
LATEST = 999_999_999_999  # seconds since 1970

# A moment: seconds since 1970, or RFC 3339 with a zone.
Moment = (
    Annotated[float, msgspec.Meta(ge=0, le=LATEST)]
    | Annotated[datetime, msgspec.Meta(tz=True, description="with its zone, such as 2026-01-31T12:00:00Z")]
)

Query = TypeVar("Query", bound=msgspec.Struct)


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class ForceQuery(msgspec.Struct, forbid_unknown_fields=True):
    force: bool = False


class ChallengerQuery(msgspec.Struct, forbid_unknown_fields=True):
    challenger: str | None = None


def read_query(request: web.Request, kind: type[Query]) -> Query:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        if name not in fields:
            raise Invalid(_unknown(name, list(fields)))
        given = request.query.getall(name)
        values[fields[name].name] = _value_of(name, given, fields[name].type)
    for name, field in fields.items():
        if field.required and name not in request.query:
            raise Invalid(f"{name} is required in the query.")
    return kind(**values)


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"{printable(name)} is no parameter; there are none here."
    near = nearest(name, known)
    hint = f" Did you mean {near}?" if near else ""
    return f"{printable(name)} is no parameter; there are {', '.join(known)}.{hint}"


def _value_of(name: str, given: list[str], kind: Any) -> Any:
    kind = without_none(kind)
    is_list = get_origin(kind) is list
    if len(given) > 1 and not is_list:
        raise Invalid(f"{name} is given {len(given)} times.")
    if kind is bool and given[0] not in ("true", "false"):
        raise Invalid(f"{name} must be true or false.")
    if get_origin(kind) is Literal and given[0] not in get_args(kind):
        raise Invalid(f"{name} must be {listed(get_args(kind))}.")
    if (
        kind is bool and given[0] not in BOOLS
    ):  # "0" too would be one for msgspec, and the check of roles reads it as well
        raise Invalid(f"{name} must be true or false.")
    try:
        return msgspec.convert(given if is_list else given[0], kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"{name} {_in_words(str(error))}.") from None


def without_none(kind: Any) -> Any:
    """`int | None` → `int`: a parameter that is not there is None, and no text stands for it."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    rest = tuple(each for each in get_args(kind) if each is not NoneType)
    return Union[rest]  # noqa: UP007 - of a tuple


def _in_words(error: str) -> str:
    """What msgspec says of one value, as the end of a sentence."""
    for pattern, words in (
        ("Expected `int`, got.*", "must be a whole number"),
        ("Expected `float`, got.*", "must be a number"),
        (".*(datetime|timezone).*", "must be seconds since 1970, or a time with its zone such as 2026-01-31T12:00:00Z"),
        ("Expected `.*` >= ([^ ]+).*", r"must be at least \1"),
        ("Expected `.*` <= ([^ ]+).*", r"must be at most \1"),
    ):  # fmt: skip
        if re.fullmatch(pattern, error):
            return re.sub(pattern, words, error)
    return f"is not valid: {error}"


def seconds_of(moment: float | datetime) -> float:
    """Since 1970."""
    return moment.timestamp() if isinstance(moment, datetime) else moment
