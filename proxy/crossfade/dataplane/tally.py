"""Histograms of many durations at once, as `stats.histogram` makes them; here, since this module is compiled."""

from __future__ import annotations

from math import fsum, log
from typing import Final

from crossfade.stats.histogram import LOG_UNIT, PER_LOG, UNIT, Histogram

_UNIT: Final[float] = UNIT
_LOG_UNIT: Final[float] = LOG_UNIT
_PER_LOG: Final[float] = PER_LOG
_LAST: Final = 1100  # the bucket of 48 minutes; slower ones are counted apart
_ROW: Final = [0] * (_LAST + 1)  # counts by bucket; all 0 between two calls


def histogram_of(durations: list[float]) -> Histogram:
    row = _ROW
    found: list[int] = []
    buckets: dict[int, int] = {}
    for seconds in durations:
        bucket = int((log(seconds) - _LOG_UNIT) * _PER_LOG) if seconds > _UNIT else 0
        if bucket > _LAST:
            buckets[bucket] = buckets.get(bucket, 0) + 1
        else:
            if row[bucket] == 0:
                found.append(bucket)
            row[bucket] += 1
    for bucket in found:
        buckets[bucket] = row[bucket]
        row[bucket] = 0
    return Histogram(buckets, len(durations), fsum(durations))
