"""What a report says of a comparison: the fields are the contract of the admin API's JSON.

Rule: a number that is not known is null. All intervals hold at all looks together with 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from crossfade.quality.pair_sums import Estimate
from crossfade.quality.score_summary import ScoreSummary


class Subject(msgspec.Struct, frozen=True):
    """`sources`: of segments, in the order of `prediction.segment`. `threshold`: from which score on an answer decides yes.

    Limits are those of the rollout's checks: of the excess of changed decisions, of distance, and of the worst segment.
    """

    route: str
    champion: str
    challenger: str
    since: float
    until: float
    sources: Sequence[str] = ()
    threshold: float | None = None
    changed_limit: float | None = None
    distance_limit: float | None = None
    segment_limit: float | None = None


class Confusion(msgspec.Struct):
    """`counts`: a row for each decision of the champion, a column for each of the challenger; "" is no decision."""

    labels: list[str]
    counts: list[list[int]]


class Decisions(msgspec.Struct):
    """`changed` and `noise`: shares. `chance_agreement`: how often two models with these shares of decisions would agree by chance."""

    pairs: int
    changed: float | None
    noise: float | None
    excess: Estimate | None
    agreement: Estimate | None
    kappa: Estimate | None
    chance_agreement: float | None
    raised: int
    lowered: int
    missing: int
    confusion: Confusion


class DistanceSummary(msgspec.Struct):
    mean: float | None
    noise: float | None
    excess: Estimate | None


class Durations(msgspec.Struct):
    """Seconds. `histogram`: [from, to, n]."""

    n: int
    quantiles: dict[str, float]
    histogram: list[tuple[float, float, int]]


class LatencySummary(msgspec.Struct):
    """`champion`: of the answers to clients. `champion_again`: of its second answers, which were asked for as the copies were."""

    champion: Durations
    champion_again: Durations
    challenger: Durations


class SegmentSummary(msgspec.Struct):
    """`excess` and `interval`: of `measure`. `flagged`: proven to be above the limit, with control of false discoveries."""

    by: str
    value: str
    pairs: int
    changed: float | None
    distance: float | None
    excess: float | None
    interval: tuple[float, float] | None
    flagged: bool


class FieldSummary(msgspec.Struct):
    """Shares of pairs in which the value at this path differs, and of the champion's own two answers; null: not asked twice."""

    path: str
    differs: float
    noise: float | None


class Moment(msgspec.Struct):
    """`pairs`, `changed` and `distance` of one span of time; `excess` and `interval` of all pairs up to its end."""

    at: float
    pairs: int
    changed: float | None
    distance: float | None
    excess: float | None
    interval: tuple[float, float] | None


class WorstSummary(msgspec.Struct):
    request_id: str
    at: float
    distance: float
    champion: str
    challenger: str
    champion_decision: str
    challenger_decision: str
    segments: dict[str, str]


class KeySummary(msgspec.Struct):
    """`pairs` with a sticky key, and about how many `distinct` keys they have."""

    pairs: int
    distinct: int


class ComparisonSummary(msgspec.Struct):
    """`measure`: distance where answers say no decision. `limit`: of the excess of it, by the rollout's checks. `segment_limit`: segments
    are flagged above it; without a check of segments it is the limit of all, or 0. `noise_pairs`: in which the champion was asked twice.

    `copy_errors`: copies that the challenger answered with an error. `rows`: of all answers; a batch has several.
    """

    route: str
    champion: str
    challenger: str
    since: float
    until: float
    first_pair: float | None
    last_pair: float | None
    pairs: int
    noise_pairs: int
    rows: int
    rows_changed: int
    copy_errors: int
    keys: KeySummary
    measure: Literal["decision", "distance"]
    limit: float | None
    segment_limit: float
    threshold: float | None
    decisions: Decisions
    distance: DistanceSummary
    scores: ScoreSummary
    latency: LatencySummary
    segments: list[SegmentSummary]
    fields: list[FieldSummary]
    over_time: list[Moment]
    worst: list[WorstSummary]
    dropped: dict[str, int]
