"""Routes that the proxy answers itself, and what it adds to the answers of a route.

Rule: nothing here can frame a message, or stand for the proxy's own fields.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from crossfade.config import address, units
from crossfade.config.match import FieldName, UrlPath, distinct_fields
from crossfade.config.problem import BadValue, shown
from crossfade.config.request import refusal_of, sent_field_value
from crossfade.config.section import (
    AS_INTEGER,
    AS_TEXT,
    NOT_EMPTY,
    Duration,
    Flag,
    OneOrMany,
    Section,
    Written,
    at_most,
    field_name,
    method,
    spelled,
    text,
)

REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_BODY = 65_536  # bytes: each worker holds it, and each report of a configuration shows it
_FRAMING = ("trailer", "date", "upgrade", "te")
_ORIGIN = re.compile(
    r"(https?)://(\*\.)?([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
)
ANY = "*"


def _answer_field(value: object) -> str:
    """A name that a route may set in its answers, or remove from them."""
    name: str = field_name(value)
    why = "is written by the proxy" if name in _FRAMING else refusal_of(name)
    if why is not None:
        raise BadValue(f"{shown(name)} of an answer cannot be changed: it {why}")
    return name


def _redirect_status(value: object) -> int:
    status = units.whole(value)
    if status not in REDIRECTS:
        raise BadValue(f"must be 301, 302, 303, 307 or 308, not {shown(value)}")
    return status


def _status(value: object) -> int:
    status = units.whole(value)
    if not 200 <= status <= 599:
        raise BadValue(f"must be a status from 200 to 599, not {shown(value)}")
    return status


def _body(value: object) -> str:
    body: str = text(value)
    try:
        length = len(body.encode())
    except UnicodeEncodeError:
        raise BadValue("must be UTF-8") from None
    if length > _LONGEST_BODY:
        raise BadValue(f"must have at most {_LONGEST_BODY} bytes, not {length}")
    return body


def _origin(value: object) -> str:
    """As a browser sends it: lower-case, without a default port (RFC 6454 section 6.2)."""
    origin: str = text(value)
    if origin == ANY:
        return origin
    if origin == "null":
        raise BadValue("must not be null: any page can make its origin null")
    usual = origin.lower().rstrip("/")
    usual = re.sub(r"^(http://.*):80$|^(https://.*):443$", lambda found: found[1] or found[2], usual)
    if _ORIGIN.fullmatch(usual) is None:
        message = f"must be * or an origin such as https://app.example.com or https://*.example.com, not {shown(value)}"
        raise BadValue(message)
    if usual != origin:
        raise BadValue(f"must be as browsers send it, not {shown(value)}", usual)
    return origin


def _name_or_any(value: object) -> str:
    return ANY if value == ANY else field_name(value)


def _method_or_any(value: object) -> str:
    return ANY if value == ANY else method(value)


def _host(value: object) -> str:
    host: str = address.authority(value)
    return host


AnswerField = Annotated[FieldName, BeforeValidator(_answer_field)]
AnswerValue = Annotated[str, BeforeValidator(sent_field_value), Written(AS_TEXT)]
AnswerFields = Annotated[dict[AnswerField, AnswerValue], BeforeValidator(distinct_fields)]
RedirectStatus = Annotated[int, BeforeValidator(_redirect_status), spelled(AS_INTEGER)]
Status = Annotated[int, BeforeValidator(_status), spelled(AS_INTEGER)]
Body = Annotated[str, BeforeValidator(_body), Written(AS_TEXT)]
Origin = Annotated[str, BeforeValidator(_origin)]
NameOrAny = Annotated[str, BeforeValidator(_name_or_any)]
MethodOrAny = Annotated[str, BeforeValidator(_method_or_any)]


class RedirectConfig(Section):
    """Sends the client elsewhere. What is not given stays as it is in the request; so does the query."""

    scheme: Literal["http", "https"] | None = Field(default=None, description="http or https")
    host: Annotated[str, BeforeValidator(_host)] | None = Field(
        default=None, description="a host, with a port if it is not the scheme's"
    )
    path: UrlPath | None = Field(default=None, description="the whole path")
    prefix: UrlPath | None = Field(
        default=None, description="replaces what the route's path or prefix has matched; / removes it"
    )
    status: RedirectStatus = Field(
        default=307, description="301, 302, 303, 307 or 308; 307 and 308 keep the method and the body"
    )


class RespondConfig(Section):
    """One answer for all requests, such as a page for maintenance."""

    status: Status = Field(description="from 200 to 599")
    body: Body = Field(default="", description="the body, in UTF-8")
    content_type: AnswerValue = Field(default="text/plain; charset=utf-8", description="the type of the body")
    headers: AnswerFields = Field(default_factory=dict, description="more header fields, such as retry-after")


class ResponseHeadersConfig(Section):
    """Header fields of all answers of the route: removed first, then set."""

    set: AnswerFields = Field(
        default_factory=dict, description="fields that replace the model's of these names"
    )
    remove: Annotated[tuple[AnswerField, ...], OneOrMany()] = Field(
        default=(), description="names of the model's fields that the client does not get"
    )


class ResponseConfig(Section):
    """What is changed in the answers of the route."""

    headers: ResponseHeadersConfig = Field(
        default_factory=ResponseHeadersConfig, description="header fields that are set and removed"
    )


class CorsConfig(Section):
    """Which web pages of other origins may call the route (CORS). The proxy answers preflight requests itself."""

    origins: Annotated[tuple[Origin, ...], NOT_EMPTY, OneOrMany()] = Field(
        description="origins such as https://app.example.com, https://*.example.com for all below it, or * for all"
    )
    methods: Annotated[tuple[MethodOrAny, ...], OneOrMany()] = Field(
        default=(), description="allowed methods; the route's if not given, or else GET, HEAD and POST"
    )
    headers: Annotated[tuple[NameOrAny, ...], OneOrMany()] = Field(
        default=(), description="request fields that are allowed beside the ones that always are; * is all"
    )
    expose: Annotated[tuple[NameOrAny, ...], OneOrMany()] = Field(
        default=(), description="fields of answers that the page may read beside the ones that it always may"
    )
    credentials: Flag = Field(
        default=False, description="true: cookies and authorization may be sent; not together with *"
    )
    max_age: Annotated[Duration, at_most(86_400)] | None = Field(
        default=None, description="how long a browser remembers the answer to a preflight; 5s if not given"
    )
