"""`prediction`: how answers are read, which of them, and what is left out of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from crossfade.config.match import JsonPath, errors_at_keys, json_path
from crossfade.config.problem import BadValue, UnknownKey, listed, shown
from crossfade.config.section import (
    AS_TEXT,
    Number,
    OneOrMany,
    Section,
    Weight,
    field_name,
    not_empty,
    spelled,
    text,
)
from crossfade.scale import WHOLE

_MOST_SEGMENTS = 8  # each is a table of its own in every comparison

Protocol = Literal["json", "auto", "oip_v2", "kserve_v1", "mlflow", "openai"]
RequestKind = Literal["json", "header", "query"]
_READ_NAME: dict[RequestKind, Callable[[object], str]] = {
    "json": json_path,
    "header": field_name,
    "query": lambda value: str(not_empty(text(value))),
}


class SegmentConfig(Section):
    """Where the value of a segment is found: `answer` is a path in the answer, the others are of the request."""

    kind: Literal["answer", "json", "header", "query"]
    name: str


def _segment(value: object) -> SegmentConfig:
    """From a path, or from a mapping of one key: `{header: X-Tenant}`."""
    if isinstance(value, SegmentConfig):
        return value
    if not isinstance(value, Mapping):
        return SegmentConfig(kind="answer", name=json_path(value))
    kinds = get_args(RequestKind)
    unknown = [key for key in value if key not in kinds]
    if unknown:
        raise errors_at_keys(*((key, UnknownKey(key, kinds)) for key in unknown))
    if len(value) != 1:
        raise BadValue(
            f"must be a path in the answer, or have one key of {listed(kinds)}, not {shown(value)}"
        )
    kind: RequestKind = next(iter(value))
    try:
        return SegmentConfig(kind=kind, name=_READ_NAME[kind](value[kind]))
    except BadValue as error:
        raise errors_at_keys((kind, error)) from None


def _distinct(segments: tuple[SegmentConfig, ...]) -> tuple[SegmentConfig, ...]:
    if len(set(segments)) < len(segments):
        raise BadValue("must name each source once")
    if len(segments) > _MOST_SEGMENTS:
        raise BadValue(f"must be at most {_MOST_SEGMENTS}, not {len(segments)}")
    return segments


_AS_KIND: dict[str, Any] = {
    "type": "object",
    "properties": dict.fromkeys(get_args(RequestKind), AS_TEXT),
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
Segment = Annotated[SegmentConfig, BeforeValidator(_segment), spelled(AS_TEXT, _AS_KIND)]
Paths = Annotated[tuple[JsonPath, ...], OneOrMany()]


class PredictionConfig(Section):
    """How to read a prediction from an answer: JSON paths, or a protocol."""

    protocol: Protocol = Field(
        default="json",
        description="the protocol of the answers; auto: known by the request's path and the answer's shape",
    )
    score: JsonPath | None = Field(
        default=None,
        description="the path to the predicted number; of other protocols than json, the name of an output",
    )
    label: JsonPath | None = Field(
        default=None,
        description="the path to the predicted class; it is the decision if `decision` is not given; of other protocols "
        "than json, the name of an output",
    )
    decision: Number | None = Field(
        default=None, description="the threshold: the decision is yes if the score is at least this"
    )
    segment: Annotated[tuple[Segment, ...], AfterValidator(_distinct), OneOrMany()] = Field(
        default=(),
        description="the values that comparisons are split by: a path in the answer, or of the request "
        "{json: path}, {header: name} or {query: name}",
    )
    ignore: Paths = Field(
        default=(), description="the paths in answers that are not compared, with all that is below them"
    )
    redact: Paths = Field(
        default=(),
        description="the paths whose values are shown to nobody; without any, all texts are replaced by their length and hash",
    )
    sample: Weight = Field(
        default=WHOLE,
        description="the share of answers that is read",
        json_schema_extra={"default": "100%"},
    )

    @property
    def is_read(self) -> bool:
        """Whether answers are read. Other protocols than json need no paths."""
        return self.protocol != "json" or bool(self.score or self.label)
