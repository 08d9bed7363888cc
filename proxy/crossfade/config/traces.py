"""`traces`: which requests have a span, and where spans are sent by OTLP over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import BeforeValidator, Field

from crossfade.config import address
from crossfade.config.document import Document
from crossfade.config.match import FieldName
from crossfade.config.problem import Problem
from crossfade.config.request import SecretFieldValue
from crossfade.config.section import Section, Share, Text

INSTALL = "pip install 'crossfade[traces]'"
PATH = "/v1/traces"  # where OTLP over HTTP has them, if the endpoint names no path


def has_opentelemetry() -> bool:
    """Whether it is installed; it is not imported, as only the observer sends spans."""
    return (
        find_spec("opentelemetry") is not None
        and find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    )


class TracesConfig(Section):
    """Spans of sampled requests."""

    endpoint: Annotated[str, BeforeValidator(address.web_url)] = Field(
        description="the collector, as http://collector:4318; spans go to its /v1/traces, or to the path that is given"
    )
    sample: Share = Field(
        default=0.01,
        description="the share of requests without a traceparent that have a span; a client's own traceparent decides for its request",
    )
    headers: dict[FieldName, SecretFieldValue] = Field(
        default_factory=dict, description="header fields of the calls, as a key for the collector"
    )
    service: Text = Field(default="crossfade", description="the name of the service in the spans")

    @property
    def url(self) -> str:
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.path not in ("", "/") else urlunsplit(parts._replace(path=PATH))


def traces_without_opentelemetry(document: Document) -> Iterator[Problem]:
    for loc, _ in document.each("traces"):
        if not has_opentelemetry():
            yield document.problem(loc, f"needs packages that are not installed: {INSTALL}")


TRACES_RULES = (traces_without_opentelemetry,)
