"""`cache`: for how long a model's answers are given again, and to which requests.

Rule: only requests that change nothing may be answered without the model: the route says `pure`, or takes GET and HEAD alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from crossfade.config.document import Document
from crossfade.config.match import errors_at_keys
from crossfade.config.mirror_rules import is_true, unsafe_methods
from crossfade.config.problem import BadValue, Problem, UnknownKey, shown
from crossfade.config.section import (
    AS_TEXT,
    NOT_EMPTY,
    OneOrMany,
    Period,
    Section,
    Size,
    at_least,
    field_name,
    spelled,
)

_FORM = "must be body, or a mapping such as {header: X-Tenant}"
_OF_CONNECTIONS = ("host", "content-length", "transfer-encoding", "connection", "x-request-id", "traceparent")


class CacheKeyConfig(Section):
    """A part of a request by which answers differ; `name` is empty for the body, and lower-cased."""

    kind: Literal["body", "header"]
    name: str = ""


def _key(value: object) -> CacheKeyConfig:
    if isinstance(value, CacheKeyConfig):
        return value
    if value == "body":
        return CacheKeyConfig(kind="body")
    if not isinstance(value, Mapping):
        raise BadValue(f"{_FORM}, not {shown(value)}")
    unknown = [key for key in value if key != "header"]
    if unknown:
        raise errors_at_keys(*((key, UnknownKey(key, ("header",))) for key in unknown))
    if not value:
        raise BadValue(f"{_FORM}, not {shown(value)}")
    try:
        name = field_name(value["header"]).lower()
        if name in _OF_CONNECTIONS:
            raise BadValue(
                f"must not be {name}: it says nothing about the answer that is not in the key, or is always new"
            )
    except BadValue as error:
        raise errors_at_keys(("header", error)) from None
    return CacheKeyConfig(kind="header", name=name)


def _distinct(keys: tuple[CacheKeyConfig, ...]) -> tuple[CacheKeyConfig, ...]:
    if len(set(keys)) < len(keys):
        raise BadValue("must name each part once")
    return keys


_AS_FIELD = {
    "type": "object",
    "properties": {"header": AS_TEXT},
    "additionalProperties": False,
    "required": ["header"],
}
CacheKey = Annotated[CacheKeyConfig, BeforeValidator(_key), spelled({"const": "body"}, _AS_FIELD)]


class CacheConfig(Section):
    """Answers that are given again."""

    ttl: Period = Field(description="how long an answer is given again; a model can only shorten it")
    max: Annotated[Size, at_least(1_048_576)] = Field(
        default=67_108_864, description="the most bytes of answers that each worker keeps for the route"
    )
    key: Annotated[tuple[CacheKey, ...], NOT_EMPTY, OneOrMany(), AfterValidator(_distinct)] = Field(
        default=(CacheKeyConfig(kind="body"),),
        description="what must be equal beside method, host, path, query and what is negotiated: body, "
        "and fields such as {header: X-Tenant}; without body, requests with one are not cached",
        json_schema_extra={"default": ["body"]},
    )

    @property
    def by_body(self) -> bool:
        return any(part.kind == "body" for part in self.key)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of fields of the request."""
        return tuple(part.name for part in self.key if part.kind == "header")


def _requests_that_may_change_something(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        if route.child("cache") is None or route.child("split") is None or is_true(route, "retry", "pure"):
            continue
        methods = unsafe_methods(route)
        if methods:
            message = f"needs retry: {{pure: true}} on the route: {methods} may change something, and a cached answer changes nothing"
            yield document.problem((*loc, "cache"), message, at_key=True)


CACHE_RULES = (_requests_that_may_change_something,)
