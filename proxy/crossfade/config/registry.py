"""`registry`: where versions of models are registered, and what names one there.

Rule: `model/version` names a version, `model@alias` the version that an alias of the model points at.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from crossfade.config import address
from crossfade.config.problem import BadValue, shown
from crossfade.config.section import SECRET, Period, Section, Text, spelled, text

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VERSION = re.compile(rf"({_PART})/({_PART})")
_ALIAS = re.compile(rf"({_PART})@({_PART})")
_PLACEHOLDERS = re.compile(r"\{(\w*)\}")


class RegisteredVersion(NamedTuple):
    model: str
    version: str

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"


def registered_version(value: object) -> str:
    """`model/version`."""
    if not _VERSION.fullmatch(text(value)):
        raise BadValue(f"must be MODEL/VERSION, as in churn/3, not {shown(value)}")
    return text(value)


def registered_alias(value: object) -> str:
    """`model@alias`."""
    if not _ALIAS.fullmatch(text(value)):
        raise BadValue(f"must be MODEL@ALIAS, as in churn@challenger, not {shown(value)}")
    return text(value)


def version_of(written: str) -> RegisteredVersion:
    """Of what `registered_version` has read."""
    model, _, version = written.partition("/")
    return RegisteredVersion(model, version)


def endpoint_for(template: str, version: RegisteredVersion) -> str:
    """A URL. Raises BadValue for a template that makes none."""
    unknown = set(_PLACEHOLDERS.findall(template)) - {"model", "version"}
    if unknown:
        raise BadValue(f"must hold no placeholder but {{model}} and {{version}}, not {{{min(unknown)}}}")
    url = template.replace("{model}", version.model).replace("{version}", version.version)
    address.endpoint(url)
    return url


def _template(value: object) -> str:
    endpoint_for(text(value), RegisteredVersion("m", "1"))
    return text(value)


class RegistryConfig(Section):
    """The registry of models."""

    kind: Literal["folder", "mlflow"] = Field(
        description="folder: DIR/MODEL/VERSION/metadata.json; mlflow: the registry of an MLflow server"
    )
    uri: Text = Field(description="the folder, or the URL of the MLflow server")
    token: Annotated[str, BeforeValidator(text), SECRET] = Field(
        default="", description="the token for the MLflow server"
    )
    endpoint: Annotated[str, BeforeValidator(_template), spelled({"type": "string"})] | None = Field(
        default=None,
        description="the URL of a version that has no tag endpoint, with {model} and {version} in it",
    )
    interval: Period = Field(default=30.0, description="how often new challengers are looked for")
