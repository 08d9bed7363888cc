"""From pydantic's validation errors to problems that an operator can act on.

Rule: each problem is a plain sentence at its place in the file, without pydantic's words. A sentence about a value
with variables is made from what was written: no part of what a variable stands for is ever shown, as the file may
come from somebody who may not read the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from crossfade.config.document import Document, Loc
from crossfade.config.model import Config
from crossfade.config.problem import (
    MAX_SUGGESTIONS,
    BadValue,
    Problem,
    UnknownKey,
    listed,
    nearest,
    place_of,
    shown,
)

_SHAPES = {"model_type": "a mapping", "dict_type": "a mapping", "tuple_type": "a list"}


def validated(document: Document) -> tuple[Config | None, list[Problem]]:
    try:
        return Config.model_validate(document.root.plain()), []
    except ValidationError as error:
        return None, _problems_of(error, document)


def _problems_of(error: ValidationError, document: Document) -> list[Problem]:
    found = error.errors(include_url=False)
    told: list[Problem] = []
    as_written: list[Problem] | None = None
    for number, details in enumerate(found):
        problem = _problem_of(details, document, number < MAX_SUGGESTIONS)
        if not document.locate(_place_of(details)).has_variables:
            told.append(problem)
            continue
        if as_written is None:
            _, as_written = validated(replace(document, root=document.root.as_written()))
        told += _without_values(problem, as_written)
    return told


def _without_values(problem: Problem, as_written: list[Problem]) -> list[Problem]:
    """What is wrong there with what was written; if nothing is, that its variables make it so."""
    same = [other for other in as_written if place_of(other) == place_of(problem)]
    message = "is not valid with the values of its variables"
    return same or [replace(problem, message=message, suggestion=None)]


def _place_of(details: ErrorDetails) -> Loc:
    """A faulty key is at the place of its entry."""
    loc = details["loc"]
    return loc[:-1] if loc[-1:] == ("[key]",) else loc


def _problem_of(details: ErrorDetails, document: Document, suggests: bool) -> Problem:
    loc, kind, value = details["loc"], details["type"], details["input"]
    context: Mapping[str, Any] = details.get("ctx", {})
    if kind == "value_error":
        return _bad_value(loc, context["error"], document)
    if kind == "extra_forbidden":
        unknown = UnknownKey(str(loc[-1]), _keys_at(loc[:-1]) if suggests else ())
        return document.problem(loc, unknown.message, unknown.suggestion, at_key=True)
    if kind == "missing":
        return document.problem(loc[:-1], f'the key "{loc[-1]}" is missing', at_key=True)
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        near = nearest(value, choices) if suggests and isinstance(value, str) else None
        return document.problem(loc, f"must be {listed(choices)}, not {shown(value)}", near)
    return document.problem(loc, f"must be {_SHAPES[kind]}, not {shown(value)}")


def _bad_value(loc: Loc, error: BadValue, document: Document) -> Problem:
    is_key = loc[-1:] == ("[key]",)
    at_key = is_key or isinstance(error, UnknownKey)
    return document.problem(loc[:-1] if is_key else loc, error.message, error.suggestion, at_key=at_key)


def _keys_at(loc: Loc) -> list[str]:
    """The keys that are allowed in the mapping at this location."""
    kind: Any = Config
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _unwrapped(_fields_of(kind)[str(part)])
        else:
            kind = _unwrapped(get_args(kind)[1 if get_origin(kind) is dict else 0])
    return list(_fields_of(kind))


def _fields_of(section: type[BaseModel]) -> dict[str, Any]:
    """The types of the fields by the key that is written."""
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def _unwrapped(kind: Any) -> Any:
    """The type without its annotations and without None."""
    while get_origin(kind) is Annotated or get_origin(kind) in (Union, UnionType):
        kind = get_args(kind)[0]
    return kind
