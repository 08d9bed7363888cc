"""The conditions of a route, and the keys that identify a caller.

Rule: names of header fields become lower-case here. A JSON value keeps the type that was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails

from crossfade.config import units
from crossfade.config.assign import AssignConfig
from crossfade.config.document import Plain
from crossfade.config.problem import BadValue, UnknownKey, listed, shown
from crossfade.config.section import (
    AS_TEXT,
    NOT_EMPTY,
    VARIABLE,
    OneOrMany,
    Section,
    Text,
    Written,
    field_name,
    field_value,
    flag,
    method,
    not_empty,
    spelled,
    text,
    token,
)
from crossfade.paths import BadPath, normalised
from crossfade.regex import BadExpression, compiled

StickyKind = Literal["header", "cookie", "query", "json", "client_ip", "assign"]
STICKY_KINDS: tuple[StickyKind, ...] = get_args(StickyKind)


def _url_path(value: object) -> str:
    path = text(value)
    if not path.startswith("/"):
        raise BadValue(f'must begin with "/", not be {shown(value)}', f"/{path}")
    if re.search(r"[?#]", path):
        raise BadValue(f'must be a path without "?" and "#", not {shown(value)}', re.split(r"[?#]", path)[0])
    if re.search(r"[^!-~]", path):
        hint = quote(path, safe="/%:@!$&'()*+,;=~")
        raise BadValue(f"must be percent-encoded as it is in a request, not {shown(value)}", hint)
    return path


def _route_path(value: object) -> str:
    """A path as requests' paths are compared with it: in another spelling it would match nothing."""
    path = _url_path(value)
    try:
        usual = normalised(path.encode()).decode()
    except BadPath as error:
        raise BadValue(f"must be a path that all servers read alike: {error}") from None
    if usual != path:
        raise BadValue(f"must be in the spelling that requests are matched in, not {shown(value)}", usual)
    return path


def is_below(path: str, prefix: str) -> bool:
    """Whether this is the path that a prefix names, or one below it: /v2 has /v2 and /v2/x below it, not /v20."""
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def regex(value: object) -> str:
    expression = text(value)
    try:
        compiled(expression)
    except BadExpression as error:
        raise BadValue(str(error)) from None
    return expression


def json_path(value: object) -> str:
    """Names, or array indexes from 0, from the root of a JSON body, joined by dots."""
    if not all(text(value).split(".")):
        raise BadValue(f"must be keys joined by dots, as in customer.id, not {shown(value)}")
    return text(value)


def json_scalar(value: object) -> str | int | float | bool:
    """The JSON value: quoted text is text, unquoted text is a number or boolean if it looks like one."""
    if value is None or isinstance(value, dict | list | tuple):
        raise BadValue(f"must be text, a number, true or false, not {shown(value)}")
    if not isinstance(value, Plain):
        return value if isinstance(value, str | int | float | bool) else str(value)
    if value in ("true", "false"):
        return value == "true"
    if units.INTEGER.fullmatch(value):
        return int(value)
    return float(value) if units.NUMBER.fullmatch(value) else str(value)


def distinct_fields(value: object) -> object:
    seen: set[str] = set()
    for key in value if isinstance(value, dict) else ():
        name = str(key).lower()
        if name in seen:
            raise BadValue(f'must name each header once, not "{name}" in two spellings')
        seen.add(name)
    return value


UrlPath = Annotated[str, BeforeValidator(_url_path), Written({"type": "string", "pattern": r"^/|\$\{"})]
RoutePath = Annotated[str, BeforeValidator(_route_path), Written({"type": "string", "pattern": r"^/|\$\{"})]
Regex = Annotated[str, BeforeValidator(regex), NOT_EMPTY]
JsonPath = Annotated[str, BeforeValidator(json_path)]
FieldName = Annotated[str, BeforeValidator(field_name)]
FieldValue = Annotated[str, BeforeValidator(field_value), Written(AS_TEXT)]
QueryValue = Annotated[FieldValue, NOT_EMPTY]
JsonScalar = Annotated[str | int | float | bool, PlainValidator(json_scalar), Written(AS_TEXT)]


class MatchConfig(Section):
    """The requests that the route matches. All conditions must hold."""

    path: RoutePath | None = Field(default=None, description="the whole path")
    prefix: RoutePath | None = Field(
        default=None, description="the first segments of the path: /v2 matches /v2 and /v2/x, not /v20"
    )
    regex: Regex | None = Field(default=None, description="a regular expression of RE2 for the whole path")
    methods: Annotated[tuple[Annotated[str, BeforeValidator(method)], ...], OneOrMany()] = Field(
        default=(), description="methods in capitals; all methods if not given"
    )
    headers: Annotated[dict[FieldName, FieldValue], BeforeValidator(distinct_fields)] = Field(
        default_factory=dict, description='header fields and their values; "*" is any value'
    )
    query: dict[Text, QueryValue] = Field(
        default_factory=dict, description='query parameters and their values; "*" is any value'
    )
    json_fields: dict[JsonPath, JsonScalar] = Field(
        default_factory=dict,
        alias="json",
        description="fields of a JSON body and their values; a path is names and array indexes joined by dots",
    )


class StickyConfig(Section):
    """The source of a sticky key; `name` is empty for client_ip. Of `assign` it is the cookie's; the rest is no part of the key."""

    kind: StickyKind
    name: str = ""
    assign: AssignConfig | None = None


_SCHEMAS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(STICKY_KINDS, AS_TEXT),
    "client_ip": {"anyOf": [{"const": True}, VARIABLE]},
    "assign": AssignConfig.model_json_schema(by_alias=True),
}
_REQUEST_KINDS = tuple(kind for kind in STICKY_KINDS if kind != "assign")


def _schema_of(kinds: Iterable[str]) -> dict[str, Any]:
    """Of a mapping with one of these keys."""
    return {
        "type": "object",
        "properties": {kind: _SCHEMAS[kind] for kind in kinds},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _sticky(value: object) -> StickyConfig:
    """From a mapping of one key: `{header: X-Customer-Id}`, `{client_ip: true}`."""
    if isinstance(value, StickyConfig):
        return value
    if not isinstance(value, Mapping):
        raise BadValue(f"must be a mapping such as {{header: X-Customer-Id}}, not {shown(value)}")
    unknown = [key for key in value if key not in STICKY_KINDS]
    if unknown:
        raise errors_at_keys(*((key, UnknownKey(key, STICKY_KINDS)) for key in unknown))
    if len(value) != 1:
        raise BadValue(f"must have one key of {listed(STICKY_KINDS)}; write several keys as a list")
    kind = next(iter(value))
    if kind == "assign":
        return _assigned(value[kind])
    try:
        return StickyConfig(kind=kind, name=_sticky_name(kind, value[kind]))
    except BadValue as error:
        raise errors_at_keys((kind, error)) from None


def _assigned(value: object) -> StickyConfig:
    try:
        assign = AssignConfig.model_validate(value)
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            "mapping", [_below("assign", e) for e in error.errors()]
        ) from None
    return StickyConfig(kind="assign", name=assign.cookie, assign=assign)


def _below(key: str, error: ErrorDetails) -> InitErrorDetails:
    """The same error, one level further down."""
    details = InitErrorDetails(type=error["type"], loc=(key, *error["loc"]), input=error["input"])
    if "ctx" in error:
        details["ctx"] = error["ctx"]
    return details


def _sticky_name(kind: StickyKind, value: object) -> str:
    if kind == "client_ip":
        if not flag(value):
            raise BadValue("must be true; leave out the key otherwise")
        return ""
    if kind == "json":
        return json_path(value)
    if kind == "query":
        return str(not_empty(text(value)))
    return field_name(value) if kind == "header" else token(value)


def errors_at_keys(*errors: tuple[str, BadValue]) -> ValidationError:
    """The errors at these keys of the mapping being validated."""
    details = [
        InitErrorDetails(type="value_error", loc=(k,), input=None, ctx={"error": e}) for k, e in errors
    ]
    return ValidationError.from_exception_data("mapping", details)


def _rate_key(value: object) -> StickyConfig:
    """As a sticky key; the word `client_ip` is accepted too."""
    if isinstance(value, Mapping) and "assign" in value:
        message = "must not be assign: a client that drops the cookie would have no limit"
        raise errors_at_keys(("assign", BadValue(message)))
    return _sticky({"client_ip": True} if value == "client_ip" else value)


StickyKey = Annotated[StickyConfig, BeforeValidator(_sticky), Written(_schema_of(STICKY_KINDS))]
RateKey = Annotated[
    StickyConfig, BeforeValidator(_rate_key), spelled({"const": "client_ip"}, _schema_of(_REQUEST_KINDS))
]
