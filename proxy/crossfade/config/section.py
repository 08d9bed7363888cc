"""The base class of all sections of the configuration, and the types of their fields.

Rule: the type of a field converts what the operator wrote (text, or a number from Python) to the value that
the proxy uses, and has the JSON Schema of what may be written. Relations between fields are checked by the
rules, not by the models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import (
    no_info_before_validator_function,
    no_info_wrap_validator_function,
    plain_serializer_function_ser_schema,
)

from crossfade.config import units
from crossfade.config.problem import BadValue, shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_NOT_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

VARIABLE = {"type": "string", "pattern": r"\$\{"}


class Section(BaseModel):
    """One mapping of the file. Unknown keys are errors; values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Written:
    """Annotates a type with the JSON Schema of what may be written for it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return deepcopy(self.schema)  # a copy, since pydantic writes the default of a field into it


def spelled(*forms: dict[str, Any]) -> Written:
    """The schema of a value that may be written in any of these forms, or as a `${VARIABLE}`."""
    return Written({"anyOf": [*forms, VARIABLE]})


def _pattern(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$"}


def at_least(bound: float) -> AfterValidator:
    def check(value: float) -> float:
        if value < bound:
            raise BadValue(f"must be at least {bound:.10g}, not {value:.10g}")
        return value

    return AfterValidator(check)


def at_most(bound: float) -> AfterValidator:
    def check(value: float) -> float:
        if value > bound:
            raise BadValue(f"must be at most {bound:.10g}, not {value:.10g}")
        return value

    return AfterValidator(check)


def _above_zero(value: float) -> float:
    if value <= 0:
        raise BadValue("must be more than 0")
    return value


def not_empty(value: Any) -> Any:
    if not value:
        raise BadValue("must not be empty")
    return value


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    near = _NOT_BOOLEANS.get(value.lower()) if isinstance(value, str) else None
    raise BadValue(f"must be true or false, not {shown(value)}", near)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise BadValue(f"must be text, not {shown(value)}")
    return str(value)


def _name(value: object) -> str:
    if not _NAME.fullmatch(text(value)):
        message = f"must be a name of letters, digits, hyphens, dots and underscores, not {shown(value)}"
        raise BadValue(message, re.sub(r"[^A-Za-z0-9._-]+", "-", text(value)).strip("-._")[:100] or None)
    return text(value)


def token(value: object) -> str:
    if not _TOKEN.fullmatch(text(value)):
        raise BadValue(f"must be a token of letters, digits and hyphens, not {shown(value)}")
    return text(value)


def method(value: object) -> str:
    if token(value) != token(value).upper():
        raise BadValue(f"must be in capitals, not {shown(value)}", token(value).upper())
    return token(value)


def field_name(value: object) -> str:
    """The name of a header field, lower-case."""
    return token(value).lower()


def field_value(value: object) -> str:
    if re.search(r"[\x00-\x1f\x7f]", text(value)):
        raise BadValue("must not hold control characters")
    return text(value)


class OneOrMany:
    """Marks a list that may be written as a single element."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(
            lambda value: value if isinstance(value, list | tuple) else [value], handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


class OrFalse:
    """Marks a section that `false`, or one of these words, turns off; the model has None then."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(
            lambda value: None if value is False or value in ("false", *self.words) else value,
            handler(source),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        section, _ = handler(schema)["anyOf"]
        return {"anyOf": [section, {"const": False}, *({"const": word} for word in self.words), VARIABLE]}


class OrPlain:
    """Marks a section that may be written as a plain value instead; the model has that value then.

    `plain`: reads the plain value; `schemas`: how that may be written.
    """

    def __init__(
        self, section: type[Section], plain: Callable[[object], object], *schemas: dict[str, Any]
    ) -> None:
        self.section, self.plain, self.schemas = section, plain, schemas

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_wrap_validator_function(
            lambda value, read: read(value) if isinstance(value, dict | self.section) else self.plain(value),
            handler.generate_schema(self.section),
            serialization=plain_serializer_function_ser_schema(
                lambda value: value.model_dump() if isinstance(value, Section) else value
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [*self.schemas, handler(schema), VARIABLE]}


class Secret:
    """Marks a field whose value is shown to nobody."""


SECRET = Secret()
_MIN_SECRET_LENGTH = 16


def _secret(value: object) -> str:
    """The value is not shown in any message."""
    written = text(value)
    if len(written) < _MIN_SECRET_LENGTH:
        raise BadValue(
            f"must be at least {_MIN_SECRET_LENGTH} characters long, such as from openssl rand -hex 32"
        )
    return written


SigningSecret = Annotated[str, BeforeValidator(_secret), SECRET]
POSITIVE = AfterValidator(_above_zero)
NOT_EMPTY = AfterValidator(not_empty)

_DECIMAL = r"[0-9]+(\.[0-9]+)?"
AS_TEXT = {"type": ["string", "number", "boolean"]}  # editors read an unquoted 1.10 as a number
AS_NUMBER = {"type": "number"}
AS_INTEGER = {"type": "integer"}
AS_DURATION = _pattern(rf"({_DECIMAL}(ms|s|m|h|d|y))+")
AS_SHARE = _pattern(rf"{_DECIMAL} ?%")
AS_CHANGE = _pattern(rf"-?{_DECIMAL} ?%")
AS_SIZE = _pattern(rf"{_DECIMAL} ?({'|'.join(unit for unit in units.SIZE_UNITS if unit)})")
AS_QUANTILE = _pattern(rf"p{_DECIMAL}")

Duration = Annotated[float, BeforeValidator(units.seconds), spelled(AS_NUMBER, AS_DURATION)]
Period = Annotated[Duration, POSITIVE]
Size = Annotated[int, BeforeValidator(units.size), spelled(AS_INTEGER, AS_SIZE)]
Share = Annotated[float, BeforeValidator(units.share), spelled(AS_NUMBER, AS_SHARE)]
Weight = Annotated[int, BeforeValidator(units.weight), spelled(AS_NUMBER, AS_SHARE)]
Number = Annotated[float, BeforeValidator(units.number), spelled(AS_NUMBER)]
Whole = Annotated[int, BeforeValidator(units.whole), spelled(AS_INTEGER)]
Count = Annotated[Whole, at_least(1)]
Quantile = Annotated[float, BeforeValidator(units.quantile), spelled(AS_NUMBER, AS_QUANTILE)]
Flag = Annotated[bool, BeforeValidator(flag), spelled({"type": "boolean"})]
Text = Annotated[str, BeforeValidator(text), NOT_EMPTY, Written(AS_TEXT)]
Name = Annotated[str, BeforeValidator(_name)]
