"""What a route says: which requests are its own, where they go, and on what terms.

Rule: weights and samples are integers out of 10 000, durations seconds, sizes bytes, names checked for
their form only: whether they exist is for the rules.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from crossfade.config import address, split
from crossfade.config.match import JsonPath, MatchConfig, RateKey, StickyKey
from crossfade.config.problem import BadValue
from crossfade.config.rollout import RolloutConfig
from crossfade.config.section import (
    AS_NUMBER,
    AS_SHARE,
    POSITIVE,
    Count,
    Duration,
    Flag,
    Name,
    Number,
    OneOrMany,
    Section,
    Share,
    Size,
    Weight,
    Whole,
    at_least,
    at_most,
    spelled,
    token,
)

_MIN_RATE = 0.00001  # requests a second: about one a day

Protocol = Literal["json", "oip_v2", "kserve_v1", "mlflow", "openai"]
Occasion = Literal["advance", "pause", "resume", "promote", "abort", "rollback", "retry", "undecided"]

# A term is a split.Term until the whole split is seen, and only then the int that it is declared to be.
SplitWeight = Annotated[int, PlainValidator(split.term), spelled(AS_NUMBER, AS_SHARE)]
Split = Annotated[dict[Name, SplitWeight], AfterValidator(split.weights)]


def _upgrade(value: object) -> str:
    if token(value).lower() == "h2c":
        raise BadValue("must not be h2c: behind such an upgrade no request could be seen or counted")
    return token(value).lower()


class MirrorConfig(Section):
    """A copy of each sampled request; the client never sees or waits for its answer."""

    to: Name = Field(description="the backend that gets the copies")
    sample: Weight = Field(
        default=10_000,
        description="the share of requests that is copied",
        json_schema_extra={"default": "100%"},
    )
    noise: Weight = Field(
        default=0,
        description="of these, the share that is sent to the champion once more after its answer, to measure its own "
        "jitter: so much more traffic for it, and never where a request has side effects",
        json_schema_extra={"default": "0%"},
    )


class PredictionConfig(Section):
    """How to read a prediction from an answer: JSON paths, or a protocol."""

    protocol: Protocol = Field(default="json", description="what the answers look like")
    score: JsonPath | None = Field(default=None, description="the number predicted")
    label: JsonPath | None = Field(
        default=None, description="the class predicted; it is the decision where no threshold is given"
    )
    decision: Number | None = Field(default=None, description="the score from which on the decision is yes")
    segment: Annotated[tuple[JsonPath, ...], OneOrMany()] = Field(
        default=(), description="what to tell apart in reports"
    )


class FeedbackConfig(Section):
    """What became of the predictions, as reported to the admin API."""

    horizon: Annotated[Duration, POSITIVE] = Field(
        description="how long after the prediction it still counts"
    )


class RetryConfig(Section):
    """When a request may be sent once more."""

    attempts: Annotated[Whole, at_least(0), at_most(10)] = Field(
        default=1, description="further attempts; 0 is none"
    )
    budget: Share = Field(default=0.2, description="share of the active requests that may be retries")
    pure: Flag = Field(default=False, description="whether even a POST may be repeated")


class RateConfig(Section):
    """A token bucket for each key."""

    key: RateKey = Field(
        description="client_ip, or what a sticky key may be; a request without it goes by its client's address"
    )
    per_second: Annotated[Number, POSITIVE, at_least(_MIN_RATE)] = Field(
        description="requests let through in the long run"
    )
    burst: Count = Field(description="requests let through at once")


class LimitsConfig(Section):
    """What a request may cost."""

    body: Size | None = Field(default=None, description="the largest body; none is no limit")
    rate: RateConfig | None = Field(default=None, description="the most requests for a key; none is no limit")
    inspect: Size = Field(
        default=65_536, description="how much of a body is kept to read a field of it or to send it again"
    )


class NotifyConfig(Section):
    """Whom to tell of decisions."""

    webhook: Annotated[str, BeforeValidator(address.web_url)] = Field(description="the URL that gets a POST")
    on: Annotated[tuple[Occasion, ...], OneOrMany()] = Field(
        default=("promote", "abort", "rollback", "undecided"), description="of which decisions"
    )


class RouteConfig(Section):
    """A match, and where the traffic that matches goes. The first match in file order wins."""

    name: Name = Field(
        description="letters, digits, hyphens, dots and underscores; part of the salt, so keep it"
    )
    match: MatchConfig = Field(default_factory=MatchConfig, description="everything, if not given")
    sticky: Annotated[tuple[StickyKey, ...], OneOrMany()] = Field(
        default=(), description="what keeps a caller on one backend; of several, the first that is present"
    )
    split: Split = Field(description="percentages that add up to 100%, or plain weights")
    fallback: Name | None = Field(
        default=None, description="the backend that answers for one that fails before its first byte"
    )
    mirror: Annotated[tuple[MirrorConfig, ...], OneOrMany()] = Field(
        default=(), description="who gets copies"
    )
    prediction: PredictionConfig | None = Field(default=None, description="how to read predictions")
    feedback: FeedbackConfig | None = Field(default=None, description="what became of predictions")
    retry: RetryConfig = Field(default_factory=RetryConfig, description="when to send again")
    upgrades: Annotated[tuple[Annotated[str, BeforeValidator(_upgrade)], ...], OneOrMany()] = Field(
        default=("websocket",), description="the protocols a connection may be upgraded to"
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="what a request may cost")
    rollout: Annotated[tuple[RolloutConfig, ...], OneOrMany()] = Field(
        default=(), description="the attempt to put a challenger in charge, or several of one champion's"
    )
    notify: Annotated[tuple[NotifyConfig, ...], OneOrMany()] = Field(default=(), description="whom to tell")
