"""`sticky: {assign: …}`: the cookie with an id for clients that have no other sticky key."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from crossfade.config.problem import BadValue, shown
from crossfade.config.section import Period, Section, flag, spelled, text, token

_LONGEST_AGE = 400 * 86_400.0  # seconds; browsers keep no cookie for longer (RFC 6265bis section 5.5)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]*[A-Za-z0-9]")
_PATH = re.compile(r"/[!-:<-~]*")

Secure = Literal["auto", "true", "false"]


def _secure(value: object) -> str:
    if value == "auto":
        return "auto"
    try:
        return "true" if flag(value) else "false"
    except BadValue as error:
        raise BadValue(f"must be auto, true or false, not {shown(value)}", error.suggestion) from None


def _age(seconds: float) -> float:
    if not 1 <= seconds <= _LONGEST_AGE:
        raise BadValue("must be from 1s to 400d: browsers keep no cookie for longer")
    return seconds


def _domain(value: object) -> str:
    bare = text(value).removeprefix(".")
    if not _HOST.fullmatch(bare):
        raise BadValue(f"must be a domain such as example.com, not {shown(value)}")
    if bare != value:
        raise BadValue(f"must be without the dot in front, not {shown(value)}", bare)
    return bare


def _path(value: object) -> str:
    path = text(value)
    if not _PATH.fullmatch(path):
        near = f"/{path}" if _PATH.fullmatch(f"/{path}") else None
        raise BadValue(f'must be a path that begins with "/", without ";", not {shown(value)}', near)
    return path


class AssignConfig(Section):
    """A signed random id in a cookie that the proxy sets; it is the key of clients that have no other."""

    cookie: Annotated[str, BeforeValidator(token)] = Field(description="the name of the cookie")
    max_age: Annotated[Period, AfterValidator(_age)] = Field(
        default=30 * 86_400.0,
        description="how long an id is valid; it is renewed when half of that is over",
        json_schema_extra={"default": "30d"},
    )
    secure: Annotated[Secure, PlainValidator(_secure), spelled({"enum": ["auto", True, False]})] = Field(
        default="auto",
        description="whether browsers send it over TLS only; auto: if it was set over TLS, or with same_site: none",
    )
    same_site: Annotated[Literal["lax", "strict", "none"], spelled({"enum": ["lax", "strict", "none"]})] = (
        Field(default="lax", description="whether browsers send it with requests that other sites cause")
    )
    domain: Annotated[str, BeforeValidator(_domain)] | None = Field(
        default=None, description="also sent to the subdomains of this domain; the host alone if not given"
    )
    path: Annotated[str, BeforeValidator(_path)] = Field(
        default="/", description="sent with requests to paths below this one"
    )


__all__ = ["AssignConfig"]
