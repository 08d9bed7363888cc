"""A route as written: its match, its split, and the limits of its requests.

Rule: weights and samples are integers out of 10 000, durations are seconds, sizes are bytes. Only the form
of a name is checked here; the rules check that the name exists.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from crossfade.config import split, units
from crossfade.config.cache import CacheConfig
from crossfade.config.drift import DriftConfig
from crossfade.config.keep import KeepConfig
from crossfade.config.match import MatchConfig, RateKey, StickyKey
from crossfade.config.mirror import MirrorConfig
from crossfade.config.notify import NotifyConfig
from crossfade.config.own_answer import CorsConfig, RedirectConfig, RespondConfig, ResponseConfig
from crossfade.config.prediction import PredictionConfig
from crossfade.config.problem import BadValue, shown
from crossfade.config.report import ReportConfig
from crossfade.config.retrain import RetrainConfig
from crossfade.config.rollout import RolloutConfig
from crossfade.config.section import (
    AS_INTEGER,
    AS_NUMBER,
    AS_SHARE,
    NOT_EMPTY,
    POSITIVE,
    Count,
    Flag,
    Name,
    Number,
    OneOrMany,
    Period,
    Section,
    Share,
    Size,
    Whole,
    at_least,
    at_most,
    spelled,
    token,
)

_MIN_RATE = 0.00001  # requests a second: about one a day

# A value is a split.Term until `split.weights` has seen the whole split; then it is the int declared here.
SplitWeight = Annotated[int, PlainValidator(split.term), spelled(AS_NUMBER, AS_SHARE)]
Split = Annotated[dict[Name, SplitWeight], AfterValidator(split.weights)]


def _upgrade(value: object) -> str:
    if token(value).lower() == "h2c":
        raise BadValue("must not be h2c: the requests of such a connection cannot be routed or counted")
    return token(value).lower()


def _statuses(value: object) -> str:
    """`5xx`, `4xx` or one status."""
    if isinstance(value, str) and value.lower() in ("4xx", "5xx"):
        return value.lower()
    try:
        status = units.whole(value)
    except BadValue:
        status = 0
    if not 400 <= status <= 599:
        raise BadValue(f"must be 4xx, 5xx or a status from 400 to 599, not {shown(value)}")
    return str(status)


Statuses = Annotated[
    str,
    BeforeValidator(_statuses),
    spelled(AS_INTEGER, {"type": "string", "pattern": "^([45]xx|[45][0-9][0-9])$"}),
]


class ErrorsConfig(Section):
    """Which answers count as errors of a backend; no answer, or a broken one, always does."""

    statuses: Annotated[tuple[Statuses, ...], NOT_EMPTY, OneOrMany()] = Field(
        default=("5xx",),
        description="5xx, 4xx or single statuses; others from 400 on are rejections, but for 401, 403, 407 and 429",
    )

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The first and the last status of each."""
        return tuple((int(s.replace("xx", "00")), int(s.replace("xx", "99"))) for s in self.statuses)


class FeedbackConfig(Section):
    """The true outcomes of predictions, reported to the admin API."""

    horizon: Period = Field(description="feedback counts up to this long after the prediction")
    correct_within: Period = Field(
        default=86_400.0,
        description="how long after the first value a later, other one corrects it; after the horizon none does",
    )
    keep: Annotated[Period, at_least(600)] = Field(
        default=2_592_000.0, description="how long after the horizon a prediction stays in the log"
    )
    max: Annotated[Size, at_least(1_048_576)] = Field(
        default=2_147_483_648,
        description="the most bytes of the prediction log; the oldest predictions go first",
    )
    inputs: Flag = Field(
        default=False,
        description="true: bodies of requests that are kept for a retry are in the log too, for retraining",
    )


class RetryConfig(Section):
    """When a request may be retried."""

    attempts: Annotated[Whole, at_least(0), at_most(10)] = Field(
        default=1, description="the maximum number of retries; 0 turns them off"
    )
    budget: Share = Field(default=0.2, description="the share of the active requests that may be retries")
    pure: Flag = Field(
        default=False, description="true: requests of any method may be repeated, POST included"
    )


class RateConfig(Section):
    """A token bucket for each key."""

    key: RateKey = Field(
        description="client_ip, or any sticky key; a request without the key is counted by its client's address"
    )
    per_second: Annotated[Number, POSITIVE, at_least(_MIN_RATE)] = Field(
        description="requests admitted per second in the long run"
    )
    burst: Count = Field(description="requests admitted at once")
    ipv6_prefix: Annotated[Count, at_most(128)] = Field(
        default=64,
        description="IPv6 clients that have this many bits of the address in common are one client",
    )


class LimitsConfig(Section):
    """Limits of a route's requests."""

    body: Size | None = Field(default=None, description="the largest body; no limit if not given")
    rate: RateConfig | None = Field(
        default=None, description="the rate limit for each key; no limit if not given"
    )
    inspect: Size = Field(
        default=1_048_576,
        description="how much of a body is searched for the JSON fields of conditions and keys",
    )
    beyond_inspect: Literal["refuse", "absent"] = Field(
        default="refuse",
        description="a JSON field that is not in that part: refuse answers 413, absent routes as if there were none",
    )
    replay: Size = Field(
        default=65_536,
        description="bodies up to this size are kept for a retry or the fallback, and mirrored",
    )


class RouteConfig(Section):
    """A match, and where the matching traffic goes. The first matching route in file order wins."""

    name: Name = Field(
        description="letters, digits, hyphens, dots and underscores; a new name reassigns all sticky keys "
        "unless renamed_from says the old one"
    )
    renamed_from: Name | None = Field(
        default=None,
        description="the name before: its rollouts, aborted challengers and customers' backends go on under the new name",
    )
    match: MatchConfig = Field(
        default_factory=MatchConfig, description="the requests of the route; all if not given"
    )
    sticky: Annotated[tuple[StickyKey, ...], OneOrMany()] = Field(
        default=(), description="the keys that keep a caller on one backend; the first one present counts"
    )
    split: Split = Field(
        default_factory=dict,
        description="the weight of each backend: percentages that add up to 100%, or plain weights; "
        "each route has one of split, redirect and respond",
    )
    redirect: RedirectConfig | None = Field(
        default=None, description="in place of split: clients are sent elsewhere"
    )
    respond: RespondConfig | None = Field(default=None, description="in place of split: one answer for all")
    cors: CorsConfig | None = Field(
        default=None, description="which web pages may call the route; none if not given"
    )
    response: ResponseConfig = Field(
        default_factory=ResponseConfig, description="what is changed in the answers of the route"
    )
    fallback: Name | None = Field(
        default=None, description="the backend that answers if the assigned one fails before its first byte"
    )
    mirror: Annotated[tuple[MirrorConfig, ...], OneOrMany()] = Field(
        default=(), description="the backends that get copies of requests"
    )
    errors: ErrorsConfig = Field(
        default_factory=ErrorsConfig, description="which answers count as errors of a backend"
    )
    prediction: PredictionConfig | None = Field(
        default=None, description="how to read predictions from answers"
    )
    keep: KeepConfig | None = Field(
        default=None, description="where pairs of answers are kept as files; nowhere if not given"
    )
    feedback: FeedbackConfig | None = Field(default=None, description="the true outcomes of predictions")
    drift: DriftConfig | None = Field(
        default=None, description="alarms where inputs, scores or losses are no longer what they were"
    )
    slo: Literal["interactive", "standard", "relaxed", "batch"] | None = Field(
        default=None,
        description="the class of the route's latency: p99 within 50 ms, 200 ms, 500 ms or 5 s; "
        "a check of its rollouts that have none of latency",
    )
    retry: RetryConfig = Field(default_factory=RetryConfig, description="when a request is retried")
    cache: CacheConfig | None = Field(
        default=None, description="the model's answers are given again to equal requests; never if not given"
    )
    upgrades: Annotated[tuple[Annotated[str, BeforeValidator(_upgrade)], ...], OneOrMany()] = Field(
        default=("websocket",), description="the protocols that a connection may be upgraded to"
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="limits of the route's requests")
    rollout: Annotated[tuple[RolloutConfig, ...], OneOrMany()] = Field(
        default=(), description="the rollout of a challenger, or several rollouts with the same champion"
    )
    report: ReportConfig | None = Field(
        default=None, description="reports as files, from time to time; none if not given"
    )
    retrain: RetrainConfig | None = Field(
        default=None, description="when the model is trained again, and who does it; never if not given"
    )
    notify: Annotated[tuple[NotifyConfig, ...], OneOrMany()] = Field(
        default=(), description="webhooks that are told what happens on this route"
    )

    @property
    def answers_itself(self) -> bool:
        """Whether the proxy answers: the route has no backends."""
        return self.redirect is not None or self.respond is not None

    @property
    def predicts(self) -> bool:
        """Whether answers are read for predictions."""
        return self.prediction is not None and self.prediction.is_read
