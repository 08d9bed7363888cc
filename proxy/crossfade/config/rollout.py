"""A rollout as written: who tries to replace whom, in which steps, and what must hold.

Rule: weights are integers out of 10 000, durations seconds, shares fractions. Steps that are not
written stay empty here: it is the strategy that knows its preset.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from crossfade.config import units
from crossfade.config.problem import BadValue, shown
from crossfade.config.section import (
    AS_DURATION,
    AS_NUMBER,
    AS_SHARE,
    POSITIVE,
    Count,
    Duration,
    Flag,
    Name,
    OneOrMany,
    OrFalse,
    Quantile,
    Section,
    Share,
    Text,
    Weight,
    at_most,
    spelled,
)

Strategy = Literal["blue_green", "canary", "shadow", "champion_challenger", "ab_test"]
Metric = Literal["error_rate", "latency", "requests", "score_divergence", "disagreement", "kpi", "prometheus"]
Bound = Literal["max", "min", "max_increase", "max_ratio", "min_increase"]
BOUNDS: tuple[Bound, ...] = get_args(Bound)
_FUSE_MEMORY = 512  # outcomes that the data plane reports in order; more than these a fuse cannot see


def _read_bound(value: Any, info: ValidationInfo) -> object:
    """A bound in the unit of its metric; where that is itself in doubt, in any unit there is."""
    if value is None:
        return None
    if info.field_name == "max_ratio":
        return units.number(value)
    metric = info.data.get("metric")
    return _in_any_unit(value) if metric is None else _in_unit_of(metric, value)


def _in_unit_of(metric: Metric, value: object) -> object:
    if metric in ("error_rate", "disagreement"):
        return units.share(value)
    if metric == "latency":
        return units.seconds(value)
    return units.whole(value) if metric == "requests" else units.number(value)


def _in_any_unit(value: object) -> object:
    for read in (units.share, units.seconds, units.number):
        try:
            return read(value)
        except BadValue:
            pass
    raise BadValue(f"must be a share, a duration or a number, not {shown(value)}")


BoundValue = Annotated[float | None, spelled(AS_NUMBER, AS_SHARE, AS_DURATION)]


class CheckConfig(Section):
    """One question asked of the evidence: a metric and exactly one bound."""

    metric: Metric = Field(description="what is measured")
    quantile: Quantile | None = Field(default=None, description="of latency: p50, p99, p99.9")
    name: Text | None = Field(
        default=None, description="of a kpi: which; of a prometheus query: what to call it"
    )
    query: Text | None = Field(
        default=None, description="of prometheus: PromQL with one number as its answer"
    )
    max: BoundValue = Field(
        default=None, description="at most this: a share, a duration or a number, as the metric is"
    )
    min: BoundValue = Field(default=None, description="at least this")
    max_increase: BoundValue = Field(default=None, description="at most this much above the champion")
    max_ratio: BoundValue = Field(default=None, description="at most this many times the champion")
    min_increase: BoundValue = Field(default=None, description="at least this much above the champion")

    read_bounds = field_validator(*BOUNDS, mode="before")(_read_bound)

    @cached_property
    def bound(self) -> Bound:
        """Which bound is set; the rules see to it that it is exactly one."""
        return next(bound for bound in BOUNDS if getattr(self, bound) is not None)


class StepConfig(Section):
    """One weight of the challenger, or one share of copies for it, and what must hold before the next."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["weight"]}, {"required": ["mirror"]}]}
    )

    weight: Weight = Field(
        default=0,
        description="the challenger's share of the route; without one only testers and copies reach it",
        json_schema_extra={"default": "0%"},
    )
    mirror: Weight = Field(
        default=0,
        description="the share of the route's requests that it gets copies of, in place of a weight",
        json_schema_extra={"default": "0%"},
    )
    hold: Duration = Field(default=0.0, description="how long at least")
    approval: Flag = Field(default=False, description="whether an operator must agree to go on")
    min_requests: Count | None = Field(
        default=None, description="the challenger's requests; the rollout's, if not given"
    )


class FuseConfig(Section):
    """A hard limit for gross failure that acts within seconds, without statistics."""

    consecutive_errors: Annotated[Count, at_most(_FUSE_MEMORY)] = Field(
        default=10, description="errors in a row"
    )
    error_share: Annotated[Share, POSITIVE] = Field(
        default=0.5, description="share of errors, of the last requests"
    )
    of_last: Annotated[Count, at_most(_FUSE_MEMORY)] = Field(
        default=20, description="how many requests these are"
    )


class RolloutConfig(Section):
    """One attempt to put a challenger in charge."""

    strategy: Strategy = Field(description="the preset that gives steps and checks where none are written")
    champion: Name = Field(description="the backend in charge")
    challenger: Name = Field(description="the backend on trial")
    steps: tuple[StepConfig, ...] = Field(
        default=(), description="rising weights; the strategy's own, if not given"
    )
    min_requests: Count = Field(default=100, description="requests per step, on the challenger")
    max_step_time: Annotated[Duration, POSITIVE] | None = Field(
        default=None, description="then: on_undecided"
    )
    on_undecided: Literal["pause", "abort", "advance"] = Field(
        default="pause", description="when the evidence does not suffice in time"
    )
    watch: Duration = Field(
        default=0.0, description="how long a promoted challenger can still be rolled back by a FAIL"
    )
    cut_after: Duration | None = Field(
        default=None,
        description="how long what is in flight to a challenger may go on when it is aborted or rolled back; "
        "to its end, if not given",
    )
    warm_up: Duration = Field(
        default=0.0,
        description="how long after its first request, and after a return of either backend, only the fuse looks",
    )
    checks: Annotated[tuple[CheckConfig, ...], OneOrMany()] = Field(
        default=(), description="what must hold at each step"
    )
    fuse: Annotated[FuseConfig | None, OrFalse()] = Field(
        default_factory=FuseConfig, description="on unless it is false"
    )
    alpha: Annotated[Share, POSITIVE, at_most(0.5)] = Field(
        default=0.01, description="the chance of a wrong verdict that is accepted over a whole rollout"
    )
    advance_early: Annotated[Share, POSITIVE, at_most(0.5)] | None = Field(
        default=None,
        description="end a hold once each limit is proven to be kept, at this chance of being wrong; off by default",
    )
