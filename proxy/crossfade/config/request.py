"""How the requests to one backend are rewritten: host, path and header fields.

Rule: fields that frame a message, that belong to one connection, or that the proxy writes itself cannot be named.
Values of fields may be secrets, so no message shows them.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from crossfade.config import address
from crossfade.config.match import FieldName, JsonPath, UrlPath, distinct_fields, json_scalar
from crossfade.config.problem import BadValue, shown
from crossfade.config.section import (
    AS_TEXT,
    NOT_EMPTY,
    SECRET,
    OneOrMany,
    Section,
    Written,
    field_name,
    text,
)
from crossfade.regex import BadExpression, compiled

_OF_A_CONNECTION = "belongs to one connection, and the proxy writes its own"
_FRAMING = "frames the message, and the proxy writes it from the body it sends"
_FORWARDED = "says who the client is, and the proxy writes it (see trusted_proxies)"
_TRACING = "joins logs and traces, and the proxy passes it on or begins it"
_REFUSED = {
    "host": 'is set by the key "host" of request',
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "expect": "is passed on or answered by the proxy",
    "x-request-id": _TRACING,
    "traceparent": _TRACING,
    "sec-websocket-key": "proves a WebSocket's upgrade to the client",
    **dict.fromkeys(
        (
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "upgrade",
            "http2-settings",
        ),
        _OF_A_CONNECTION,
    ),
    **dict.fromkeys(("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"), _FORWARDED),
}
GROUP = re.compile(r"\\([1-9])")  # in a substitution
_OWN_PREFIX = "x-crossfade-"
_LONGEST_VALUE = 8192  # characters; servers and clients refuse longer lines


def refusal_of(name: str) -> str | None:
    """Why nobody but the proxy may handle this field; None if others may. WSGI and CGI take `_` for `-`, so both count."""
    plain = name.replace("_", "-")
    return "is the proxy's own" if plain.startswith(_OWN_PREFIX) else _REFUSED.get(plain)


def _own_field_name(value: object) -> str:
    """A name that a backend's rewriting may set or remove."""
    name = field_name(value)
    why = refusal_of(name)
    if why is not None:
        raise BadValue(f"{shown(name)} cannot be rewritten: it {why}")
    return name


def sent_field_value(value: object) -> str:
    """A value that the proxy writes into heads, of requests or of answers."""
    written = text(value).strip(" \t")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", written):
        raise BadValue("must not hold control characters or line ends")
    if re.search("[\ud800-\udfff]", written) or len(written) > _LONGEST_VALUE:
        raise BadValue(f"must be UTF-8 of at most {_LONGEST_VALUE} characters")
    return written


def _host(value: object) -> str:
    if value in ("preserve", "endpoint"):
        return str(value)
    try:
        return address.authority(value)
    except BadValue as error:
        raise BadValue(f"must be preserve, endpoint or a host; as a host it {error.message}") from None


def _clean_path(value: object) -> str:
    """A path without the segments `.` and `..`, which a model could resolve to another one."""
    path: str = text(value)
    if address.has_dot_segments(path):
        raise BadValue(f'must not hold the segments "." and "..", not {shown(path)}')
    return path


def _substitution(value: object) -> str:
    """A path in which `\\1` to `\\9` stand for groups of the pattern."""
    written = text(value)
    literal = GROUP.sub("x", written)
    if "\\" in literal:
        raise BadValue(r"must name groups as \1 to \9, and hold no other backslash")
    if not written.startswith("/"):
        raise BadValue(f'must begin with "/", not be {shown(written)}', f"/{written}")
    if re.search(r"[?#]|[^!-~]", literal) or address.has_dot_segments(literal):
        raise BadValue(
            f'must be a percent-encoded path without "?", "#" and the segments "." and "..", not {shown(written)}'
        )
    return written


def _pattern(value: object) -> str:
    try:
        compiled(text(value), captures=True)
    except BadExpression as error:
        raise BadValue(str(error)) from None
    return text(value)


def _json_value(value: object) -> str | int | float | bool:
    scalar = json_scalar(value)
    if isinstance(scalar, str) and re.search("[\ud800-\udfff]", scalar):
        raise BadValue("must be UTF-8")
    return scalar


NewJsonValue = Annotated[str | int | float | bool, PlainValidator(_json_value), Written(AS_TEXT)]
OwnFieldName = Annotated[FieldName, BeforeValidator(_own_field_name)]
SecretFieldValue = Annotated[str, BeforeValidator(sent_field_value), SECRET, Written(AS_TEXT)]
Fields = Annotated[dict[OwnFieldName, SecretFieldValue], BeforeValidator(distinct_fields)]
CleanPath = Annotated[UrlPath, BeforeValidator(_clean_path)]


class RequestPathRegexConfig(Section):
    """A path that the pattern matches becomes the substitution; any other path stays as it is."""

    pattern: Annotated[str, BeforeValidator(_pattern), NOT_EMPTY] = Field(
        description="a regular expression of RE2 for the whole path"
    )
    substitution: Annotated[str, BeforeValidator(_substitution)] = Field(
        description="the new path; \\1 to \\9 stand for the groups of the pattern"
    )


class RequestPathConfig(Section):
    """How the path is rewritten. The path of the endpoint comes in front of the result; the query stays."""

    prefix: CleanPath | None = Field(
        default=None, description="replaces what the route's path or prefix has matched; / removes it"
    )
    replace: CleanPath | None = Field(
        default=None, description="replaces the whole path; / asks the endpoint's path as it is written"
    )
    regex: RequestPathRegexConfig | None = Field(
        default=None, description="replaces the paths that a regular expression matches"
    )


class RequestHeadersConfig(Section):
    """Header fields for the backend: removed first, then set, then added."""

    set: Fields = Field(default_factory=dict, description="fields that replace the client's of these names")
    add: Fields = Field(default_factory=dict, description="fields beside the client's of these names")
    remove: Annotated[tuple[OwnFieldName, ...], OneOrMany()] = Field(
        default=(), description="names of the client's fields that the backend does not get"
    )


class RequestConfig(Section):
    """How requests to the backend are rewritten, also mirrored copies, retries and fallbacks."""

    host: Annotated[str, BeforeValidator(_host)] = Field(
        default="preserve",
        description="the Host field: preserve (the client's), endpoint (the endpoint's) or a host",
    )
    path: RequestPathConfig | None = Field(
        default=None, description="how the path is rewritten; as it is if not given"
    )
    headers: RequestHeadersConfig = Field(
        default_factory=RequestHeadersConfig, description="header fields that are set, added and removed"
    )
    json_fields: dict[JsonPath, NewJsonValue] = Field(
        default_factory=dict,
        alias="json",
        description="fields of a JSON body and their new values; a path is names and array indexes joined by dots",
    )
