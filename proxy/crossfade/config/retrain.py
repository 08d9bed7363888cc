"""`retrain`: who is told when a route's model should be trained again, and what that waits for.

Rule: durations are seconds. The rules check what belongs together.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from crossfade.config import address
from crossfade.config.problem import BadValue, listed, nearest, shown
from crossfade.config.section import (
    NOT_EMPTY,
    SECRET,
    Count,
    Duration,
    OneOrMany,
    OrPlain,
    Period,
    Section,
    SigningSecret,
    Text,
)

Drift = Literal["data_drift", "concept_drift"]
DRIFTS: tuple[Drift, ...] = get_args(Drift)
WEBHOOK_TIMEOUT, COMMAND_TIMEOUT = 30.0, 6 * 3600.0


def _drift(value: object) -> str:
    if isinstance(value, str) and value in DRIFTS:
        return str(value)  # without the marks of a scalar of the file
    near = nearest(value, DRIFTS) if isinstance(value, str) else None
    raise BadValue(f"must be {listed([*DRIFTS, 'schedule: 7d'])}, not {shown(value)}", near)


class ScheduleConfig(Section):
    """A model that is trained again from time to time."""

    schedule: Period = Field(description="how long after the last time it is trained again")


Occasion = Annotated[
    ScheduleConfig | Drift, OrPlain(ScheduleConfig, _drift, {"type": "string", "enum": list(DRIFTS)})
]


def _each_once(on: tuple[ScheduleConfig | Drift, ...]) -> tuple[ScheduleConfig | Drift, ...]:
    kinds = ["schedule" if isinstance(each, ScheduleConfig) else each for each in on]
    if len(set(kinds)) < len(kinds):
        raise BadValue("must name each occasion once")
    return on


class RetrainConfig(Section):
    """When a route's model is trained again, and who does it: a webhook or a command."""

    on: Annotated[tuple[Occasion, ...], OneOrMany(), AfterValidator(_each_once)] = Field(
        default=(),
        description="the occasions: data_drift, concept_drift, schedule: 7d; an operator's command always is one",
    )
    webhook: Annotated[str, BeforeValidator(address.secret_url), SECRET] | None = Field(
        default=None, description="the URL that each order is posted to; instead of a command"
    )
    command: Annotated[tuple[Text, ...], NOT_EMPTY, OneOrMany()] | None = Field(
        default=None,
        description="a program and its arguments, run without a shell, with the order on its standard input; instead of a webhook",
    )
    secret: SigningSecret | None = Field(
        default=None, description="signs what is posted to the webhook (HMAC-SHA-256); unsigned if not given"
    )
    cooldown: Duration = Field(
        default=86_400.0,
        description="how long after an order other occasions give none",
        json_schema_extra={"default": "24h"},
    )
    attempts: Count = Field(default=10, description="how often an order is tried before it has failed")
    timeout: Period | None = Field(
        default=None,
        description="how long one attempt may take; 30s for a webhook and 6h for a command if not given",
    )
    api: Annotated[str, BeforeValidator(address.web_url)] | None = Field(
        default=None,
        description="the URL of the admin API for whoever trains; that of admin.listen if not given",
    )

    @property
    def drifts(self) -> frozenset[str]:
        return frozenset(each for each in self.on if not isinstance(each, ScheduleConfig))

    @property
    def schedule(self) -> float | None:
        """Seconds."""
        return next((each.schedule for each in self.on if isinstance(each, ScheduleConfig)), None)

    @property
    def attempt_timeout(self) -> float:
        """Seconds."""
        return self.timeout or (WEBHOOK_TIMEOUT if self.webhook is not None else COMMAND_TIMEOUT)
