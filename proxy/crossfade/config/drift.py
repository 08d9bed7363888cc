"""`drift`: what live inputs and scores of a route are compared with, and how far they may be from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from crossfade.config.document import Document, Node
from crossfade.config.problem import BadValue, Problem
from crossfade.config.section import (
    AS_TEXT,
    POSITIVE,
    Count,
    Flag,
    OneOrMany,
    Period,
    Section,
    Share,
    Text,
    at_least,
    at_most,
    not_empty,
    spelled,
    text,
)

LIVE = "live"
_MOST_FIELDS = 200
_CHECKS = ("data_drift", "score_drift")


def _baseline(value: object) -> object:
    """`live`, a path, or a path for each backend."""
    if isinstance(value, Mapping):
        return {str(name): str(not_empty(text(path))) for name, path in value.items()}
    return str(not_empty(text(value)))


def _some_backends(value: str | dict[str, str]) -> str | dict[str, str]:
    if value == {}:
        raise BadValue("must be live, the path of a profile, or a path for each backend")
    return value


def _distinct(fields: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(fields)) < len(fields):
        raise BadValue("must name each field once")
    if len(fields) > _MOST_FIELDS:
        raise BadValue(f"must be at most {_MOST_FIELDS}, not {len(fields)}")
    return fields


Baseline = Annotated[
    str | dict[str, str],
    BeforeValidator(_baseline),
    AfterValidator(_some_backends),
    spelled(AS_TEXT, {"type": "object", "additionalProperties": AS_TEXT, "minProperties": 1}),
]
Tolerance = Annotated[Share, POSITIVE, at_most(0.5)]


class DriftConfig(Section):
    """Alarms where inputs, scores or losses are no longer what they were."""

    baseline: Baseline = Field(
        default=LIVE,
        description="what live values are compared with: the path of a profile, or one for each backend; "
        "live: the profile that is kept with the state, made of the first requests if there is none",
    )
    fields: Annotated[tuple[Text, ...], AfterValidator(_distinct), OneOrMany()] = Field(
        default=(), description="the inputs that are compared; all of the profile if not given"
    )
    window: Annotated[Period, at_least(1), at_most(86_400)] = Field(
        default=3600.0,
        description="values are compared in windows of this length, in which a customer counts once",
    )
    tolerance: Tolerance = Field(
        default=0.05,
        description="a share may differ by this from the profile, such as that of values up to its median",
    )
    loss_tolerance: Tolerance = Field(
        default=0.05, description="the mean loss that labels show may rise by this"
    )
    rows: Annotated[Count, at_least(100), at_most(100_000)] = Field(
        default=10_000, description="for live: the requests that a profile is made of"
    )
    together: Flag = Field(
        default=False,
        description="true: all fields are also tested together, which finds changes that no field shows alone; needs scikit-learn",
    )


def _drift_without_prediction(document: Document) -> Iterator[Problem]:
    """Only routes whose answers are read have samples."""
    for loc, route in document.each("routes", "*"):
        if "drift" in route.given and not _reads(route.child("prediction")):
            message = (
                "needs answers that are read; write prediction: {score: …} or prediction: {protocol: auto}"
            )
            yield document.problem((*loc, "drift"), message, at_key=True)


def _checks_without_drift(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        if "drift" in route.given:
            continue
        for at, rollout in enumerate(_elements(route.child("rollout"))):
            for index, check in enumerate(_elements(rollout.child("checks"))):
                node = check.child("metric")
                if node is not None and node.text in _CHECKS:
                    message = f"{node.text} needs a profile; write drift: {{baseline: …}} at the route"
                    yield document.problem((*loc, "rollout", at, "checks", index, "metric"), message)


def has_scikit_learn() -> bool:
    """Whether it is installed; it is not imported, as only the observer uses it."""
    return find_spec("sklearn") is not None


def _together_without_scikit_learn(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        node = route.child("drift", "together")
        if node is not None and node.text == "true" and not has_scikit_learn():
            message = "needs the package scikit-learn, which is not installed: pip install 'crossfade[drift]'"
            yield document.problem((*loc, "drift", "together"), message)


def _reads(prediction: Node | None) -> bool:
    if prediction is None:
        return False
    protocol = prediction.child("protocol")
    return bool({"score", "label"} & set(prediction.given)) or (
        protocol is not None and protocol.text != "json"
    )


def _elements(node: Node | None) -> Sequence[Node]:
    return node.elements if node else ()


DRIFT_RULES = (_drift_without_prediction, _checks_without_drift, _together_without_scikit_learn)
