"""The admin API as written: its address, and the tokens of those who may call it.

Rule: the name of a token is the actor in the journal, so no token has the name of an actor that is no person, nor that of
another token. A token is one that a header field can carry.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from crossfade.config import address
from crossfade.config.address import ListenConfig
from crossfade.config.listener import ListenHere, TlsConfig
from crossfade.config.problem import BadValue
from crossfade.config.section import SECRET, Name, OneOrMany, Section, SigningSecret, text

NOBODYS_NAMES = frozenset({"api", "crossfade", "file", "local", "loop", "registry", "signal"})
LONG_ENOUGH = 16  # characters of a token that nobody guesses; a shorter `admin.token` is looked at less often


def _sendable(token: str) -> str:
    """The value is not shown."""
    if re.search(r"[\x00-\x20\x7f]", token):
        raise BadValue("must not hold spaces and control characters, which no caller could send")
    return token


def _person(name: str) -> str:
    if name.lower() in NOBODYS_NAMES:
        raise BadValue(
            f'must be another name: the journal has the actor "{name.lower()}" for what no person did'
        )
    return name


class AdminTokenConfig(Section):
    """A token of one person or program."""

    name: Annotated[Name, AfterValidator(_person)] = Field(
        description="who has the token: the actor in the journal"
    )
    role: Literal["viewer", "feedback", "operator"] = Field(
        description="viewer: reads; feedback: sends feedback; operator: does all"
    )
    token: Annotated[SigningSecret, AfterValidator(_sendable), SECRET] = Field(
        description="the token, of 16 characters or more"
    )


class AdminConfig(Section):
    """The admin API, metrics and dashboard."""

    listen: ListenHere = Field(
        default=ListenConfig(host="127.0.0.1", port=9901),
        description="host:port, or unix:/path for a unix socket with the mode 0660",
        json_schema_extra={"default": "127.0.0.1:9901"},
    )
    tls: TlsConfig | None = Field(
        default=None,
        description="TLS of callers' connections; none if not given: tls of the file is for clients",
    )
    token: Annotated[str, BeforeValidator(text), SECRET] = Field(
        default="",
        description="the token of an operator without a name; one, or tokens, is required if listen is not a loopback address",
    )
    tokens: Annotated[tuple[AdminTokenConfig, ...], OneOrMany()] = Field(
        default=(), description="the tokens of several callers, each with a name and a role"
    )
    external_url: Annotated[str, BeforeValidator(address.web_url)] | None = Field(
        default=None,
        description="the URL of the dashboard for people, for links in messages; that of listen if not given",
    )

    @property
    def has_tokens(self) -> bool:
        return bool(self.token or self.tokens)
