"""Limits of slow answers, fixed before the answers that they are applied to (statistics 1.2)."""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING, NamedTuple

from crossfade.stats.histogram import LOG_GAMMA, Histogram, bucket_of, upper_edge

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check


class Limit(NamedTuple):
    """The duration in seconds above which an answer of each side is slow."""

    challenger: float
    champion: float


def limit_of(baseline: Histogram, check: Check) -> Limit:
    """For the champion its quantile, for the challenger max_ratio times that, each rounded up to a bucket edge."""
    value = baseline.quantile(check.quantile or 0.0)
    assert value is not None  # callers have enough durations
    bucket = bucket_of(value)
    return Limit(upper_edge(bucket + ceil(log(check.limit or 1.0) / LOG_GAMMA - 1e-9)), upper_edge(bucket))
