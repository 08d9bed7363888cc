"""A rollout as written: champion, challenger, steps and checks.

Rule: weights are integers out of 10 000, durations are seconds, shares are fractions. Steps that are not
written stay empty here; the strategy adds its preset later.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from crossfade.config import units
from crossfade.config.address import secret_url
from crossfade.config.problem import BadValue, shown
from crossfade.config.section import (
    AS_CHANGE,
    AS_DURATION,
    AS_NUMBER,
    POSITIVE,
    SECRET,
    VARIABLE,
    Count,
    Duration,
    Flag,
    Name,
    Number,
    OneOrMany,
    OrFalse,
    OrPlain,
    Period,
    Quantile,
    Section,
    Share,
    SigningSecret,
    Text,
    Weight,
    at_most,
    flag,
    spelled,
)
from crossfade.scale import READINGS_KEPT, RECENT_KEPT, WHOLE

_LARGEST_HOLDBACK = WHOLE // 2  # more than that is a step, not a holdback
_IN_A_ROW = 2  # results of a Prometheus query beyond the limit: one may be a bad scrape

_FROM_REGISTRY = {
    "type": "object",
    "properties": {"registry": {"type": "string"}},
    "required": ["registry"],
    "additionalProperties": False,
}

Strategy = Literal["blue_green", "canary", "shadow", "champion_challenger", "ab_test"]
Metric = Literal[
    "error_rate",
    "rejected",
    "unreadable",
    "latency",
    "requests",
    "score_divergence",
    "disagreement",
    "first_token",
    "token_gap",
    "tokens_per_second",
    "output_length",
    "stream_broken",
    "distance",
    "segment_divergence",
    "shadow_latency",
    "shadow_errors",
    "data_drift",
    "score_drift",
    "kpi",
    "accuracy",
    "log_loss",
    "brier",
    "auc",
    "mae",
    "prometheus",
]
SHARES = (
    "error_rate",
    "rejected",
    "unreadable",
    "disagreement",
    "stream_broken",
    "segment_divergence",
    "shadow_errors",
    "data_drift",
    "score_drift",
)  # metrics that are shares of requests
TIMES = ("latency", "first_token", "token_gap")  # metrics in seconds
LOSSES = ("log_loss", "brier", "mae")  # metrics of labels of which less is better
_MIN_LIFT = 0.05
Bound = Literal["max", "min", "max_increase", "max_ratio", "min_increase", "min_ratio"]
BOUNDS: tuple[Bound, ...] = get_args(Bound)


def _read_bound(value: Any, info: ValidationInfo) -> object:
    """A bound in the unit of its metric; in any unit if the metric is not valid."""
    if value is None:
        return None
    metric = info.data.get("metric")
    if info.field_name in ("max_ratio", "min_ratio"):
        return units.number(value)
    if metric == "accuracy":
        return _share_or_number(value)
    return _in_any_unit(value) if metric is None else _in_unit_of(metric, value)


def _in_unit_of(metric: Metric, value: object) -> object:
    if metric in SHARES:
        return units.share(value)
    if metric in TIMES:
        return units.seconds(value)
    return units.whole(value) if metric == "requests" else units.number(value)


def _share_or_number(value: object) -> object:
    """A share or a number; a change of a share may be below zero: `-0.05` or `-5%`."""
    try:
        return units.number(value)
    except BadValue:
        if isinstance(value, str) and value.startswith("-") and value.endswith("%"):
            return -units.share(value[1:])
        return units.share(value)


def _in_any_unit(value: object) -> object:
    for read in (units.share, units.seconds, units.number):
        try:
            return read(value)
        except BadValue:
            pass
    raise BadValue(f"must be a share, a duration or a number, not {shown(value)}")


BoundValue = Annotated[float | None, spelled(AS_NUMBER, AS_CHANGE, AS_DURATION)]


def _reading_share(value: object) -> str:
    """As `3/5`."""
    found = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", value) if isinstance(value, str) else None
    if found is None or not int(found[1]) <= int(found[2]) <= READINGS_KEPT:
        raise BadValue(f"must be such as 3/5, of at most {READINGS_KEPT} results, not {shown(value)}")
    return found[0]


ReadingShare = Annotated[
    str, BeforeValidator(_reading_share), spelled({"type": "string", "pattern": "^[0-9]+/[0-9]+$"})
]


def _range(value: object) -> object:
    """As `[0, 500]`; the rules check the order."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadValue(f"must be two numbers, as in [0, 500], not {shown(value)}")
    return value


Range = Annotated[
    tuple[Number, Number],
    BeforeValidator(_range),
    spelled({"type": "array", "items": {"anyOf": [AS_NUMBER, VARIABLE]}}),
]


class CheckConfig(Section):
    """A metric and exactly one bound for it."""

    metric: Metric = Field(description="the metric")
    quantile: Quantile | None = Field(
        default=None, description="for latency and values of streams: p50, p99, p99.9"
    )
    name: Text | None = Field(
        default=None,
        description="for kpi: its name; for metrics of labels: the name of the label, label if not given; for prometheus: a title for the query",
    )
    query: Text | None = Field(
        default=None, description="for prometheus: a PromQL query with one number as its result"
    )
    kind: Literal["event", "amount"] | None = Field(
        default=None,
        description="for kpi: event if each number is 0 or 1 and a customer counts once, otherwise amount; amount if not given",
    )
    range: Range | None = Field(
        default=None,
        description="for kpi and mae: the lowest and the highest number that counts; others are moved to these, and the test is exact",
    )
    missing: Number | None = Field(
        default=None,
        description="for kpi: the number of a prediction that got no feedback of this name within the horizon; such predictions are left out if not given",
    )
    for_: Annotated[Count, at_most(READINGS_KEPT)] | None = Field(
        default=None,
        alias="for",
        description="for prometheus: how many results in a row must be beyond the limit for a FAIL; 2 if neither for nor of is given",
    )
    of: ReadingShare | None = Field(
        default=None,
        description="for prometheus: how many of the last results must be beyond it, such as 3/5",
    )
    then: Literal["hold", "abort"] | None = Field(
        default=None,
        description="for data_drift and score_drift: what proven drift does; hold if not given, and for score_drift abort",
    )
    max: BoundValue = Field(
        default=None,
        description="the largest allowed value: a share, a duration or a number, as the metric is",
    )
    min: BoundValue = Field(default=None, description="the smallest allowed value")
    max_increase: BoundValue = Field(
        default=None, description="the largest allowed increase over the champion"
    )
    max_ratio: BoundValue = Field(default=None, description="the largest allowed ratio to the champion")
    min_increase: BoundValue = Field(
        default=None, description="the smallest required increase over the champion"
    )
    min_ratio: BoundValue = Field(default=None, description="the smallest required ratio to the champion")

    read_bounds = field_validator(*BOUNDS, mode="before")(_read_bound)

    @cached_property
    def bound(self) -> Bound:
        """The bound that is set; the rules check that it is exactly one."""
        return next(bound for bound in BOUNDS if getattr(self, bound) is not None)

    @property
    def readings(self) -> tuple[int, int]:
        """How many of how many results beyond the limit are a FAIL."""
        if self.of is not None:
            needed, _, among = self.of.partition("/")
            return int(needed), int(among)
        return (self.for_ or _IN_A_ROW,) * 2


class ApprovalConfig(Section):
    """A limit for the wait for an approval."""

    within: Period = Field(description="how long the approval may take")
    then: Literal["abort", "advance", "pause"] = Field(
        default="pause", description="the action when nobody has approved in this time"
    )


class GateConfig(Section):
    """Who must say go before the challenger gets more than in this step."""

    webhook: Annotated[str, BeforeValidator(secret_url), SECRET] = Field(
        description="the URL that is asked when all else is there; 2xx means go"
    )
    timeout: Period = Field(default=10.0, description="how long an answer may take")
    secret: SigningSecret | None = Field(
        default=None, description="signs what is posted (HMAC-SHA-256); unsigned if not given"
    )


class StepConfig(Section):
    """One weight of the challenger, or one mirror share, and when the next step may begin."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["weight"]}, {"required": ["mirror"]}]}
    )

    weight: Weight = Field(
        default=0,
        description="the challenger's share of the route; at 0 it gets only mirrored requests and testers",
        json_schema_extra={"default": "0%"},
    )
    mirror: Weight = Field(
        default=0,
        description="the share of the route's requests that is mirrored to the challenger; instead of a weight",
        json_schema_extra={"default": "0%"},
    )
    hold: Duration = Field(default=0.0, description="the minimum duration of the step")
    approval: Annotated[ApprovalConfig | bool, OrPlain(ApprovalConfig, flag, {"type": "boolean"})] = Field(
        default=False,
        description="true: an operator must approve the next step; or with a limit of time",
    )
    gate: GateConfig | None = Field(
        default=None,
        description="a webhook that must answer 2xx before the next step, or the promote after the last; none if not given",
    )
    min_requests: Count | None = Field(
        default=None,
        description="requests that the challenger must have answered; min_requests of the rollout if not given",
    )


class FuseConfig(Section):
    """A hard limit for gross failure that acts within seconds, without statistics."""

    consecutive_errors: Annotated[Count, at_most(RECENT_KEPT)] = Field(
        default=10, description="the fuse trips at this many errors in a row; a sticky key counts once"
    )
    error_share: Annotated[Share, POSITIVE] = Field(
        default=0.5, description="the fuse trips at this share of errors among the last requests"
    )
    of_last: Annotated[Count, at_most(RECENT_KEPT)] = Field(
        default=20, description="the number of last requests for error_share; a sticky key counts once"
    )


def _holdback(weight: int) -> int:
    if weight > _LARGEST_HOLDBACK:
        most, given = (units.percent(value / WHOLE) for value in (_LARGEST_HOLDBACK, weight))
        raise BadValue(f"must be at most {most}, not {given}")
    return weight


class WatchConfig(Section):
    """The time after a promote, and what the former champion keeps in it so that comparison goes on."""

    for_: Period = Field(alias="for", description="how long after a promotion a failed check rolls back")
    holdback: Annotated[Weight, AfterValidator(_holdback)] = Field(
        default=0,
        description="the share of the traffic that the former champion keeps until the watch ends, at most 50%",
        json_schema_extra={"default": "0%"},
    )


class RolloutConfig(Section):
    """One attempt to make a challenger the champion."""

    strategy: Strategy = Field(description="the preset for steps and checks that are not written")
    champion: Name = Field(description="the backend in charge")
    challenger: Annotated[Name, spelled({"type": "string"}, _FROM_REGISTRY)] = Field(
        description="the backend on trial; or {registry: MODEL@ALIAS}, the version that the alias names"
    )
    steps: tuple[StepConfig, ...] = Field(
        default=(),
        description="steps with rising mirror shares, then rising weights; those of the strategy if not given",
    )
    min_requests: Count = Field(
        default=100, description="requests that the challenger must have answered in each step"
    )
    max_step_time: Period | None = Field(
        default=None,
        description="the maximum duration of a step; after it, on_undecided applies; no maximum if not given",
    )
    on_undecided: Literal["pause", "abort", "advance"] = Field(
        default="pause", description="the action when a check is still undecided after max_step_time"
    )
    watch: Annotated[WatchConfig | float, OrPlain(WatchConfig, units.seconds, AS_NUMBER, AS_DURATION)] = (
        Field(
            default=0.0,
            description="how long after a promotion a failed check rolls back; or with a holdback for the former champion",
        )
    )
    cut_after: Duration | None = Field(
        default=None,
        description="how long requests in flight to the challenger may go on after an abort or rollback; "
        "until they end if not given",
    )
    warm_up: Duration = Field(
        default=0.0,
        description="how long after each rise of the challenger's traffic, and after a backend returns, requests count for the fuse only",
    )
    checks: Annotated[tuple[CheckConfig, ...], OneOrMany()] = Field(
        default=(), description="checks that must pass at each step"
    )
    fuse: Annotated[FuseConfig | None, OrFalse()] = Field(
        default_factory=FuseConfig, description="the fuse; false turns it off"
    )
    alpha: Annotated[Share, POSITIVE, at_most(0.5)] = Field(
        default=0.01, description="the accepted probability of a wrong FAIL over a whole rollout"
    )
    advance_early: Annotated[Share, POSITIVE, at_most(0.5)] | None = Field(
        default=None,
        description="end a hold early once each check is proven to hold, with this probability of error; off if not given",
    )
    primary: Text | None = Field(
        default=None,
        description="the kpi, by its name, or metric of labels that the recommendation goes by; the rollout needs a check of it that compares with the champion",
    )
    min_lift: Share = Field(
        default=_MIN_LIFT,
        description="the least gain in primary, relative to the champion, that is worth a promotion",
    )
    min_effect: Annotated[Share, POSITIVE] | None = Field(
        default=None,
        description="a difference from min_lift, relative too: how many requests tell it is shown; for planning only",
    )
    better: Literal["higher", "lower"] | None = Field(
        default=None,
        description="which values of primary are better; lower for log_loss, brier and mae, higher for others if not given",
    )
    act: Flag = Field(
        default=False,
        description="true: after the hold, PROMOTE promotes and KEEP aborts; false: the recommendation is shown only",
    )
    restart: Flag = Field(
        default=False,
        description="true: when this is first read, the rollout begins anew, for edits that cannot be done in place",
    )
